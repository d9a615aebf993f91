# SPDX-License-Identifier: Apache-2.0
"""A synthetic run folder with realistic values, written as the other rooms write theirs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

METHODS = ("faig", "ig", "change-absolute", "random")
STRENGTH = {"faig": 1.0, "faig-no-elimination": 0.9, "ig": 0.62, "taylor": 0.5, "change-absolute": 0.05}
LEAK = {"faig": 0.02, "faig-no-elimination": 0.3, "ig": 0.35, "taylor": 0.2}


def layers_of(channels=8, blocks=2):
    shapes = [("conv_first", channels, 3)]
    shapes += [(f"body.{block}.conv{half}", channels, channels) for block in range(blocks) for half in (1, 2)]
    shapes += [("upconv1", 4 * channels, channels), ("conv_hr", channels, channels), ("conv_last", 3, channels)]
    return [{"name": name, "out": out, "in": into, "filters": out * into} for name, out, into in shapes]


def write_table(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header.split(","), *rows])


def write_attribution(folder, degradations, methods, layers):
    total = sum(layer["filters"] for layer in layers)
    checkpoint = {
        "path": "pair/weights.safetensors",
        "sha256": "ab" * 32,
        "card": {"iterations": 3000, "licence": "Apache-2.0"},
    }
    about = {
        "filterlens": "0.1.0",
        "created": "2025-01-02T03:04:05+00:00",
        "command": ["filterlens", "attribute", "srresnet-x2", "--images", "Set14"],
        "versions": {"python": "3.11.9", "torch": "2.4.1"},
        "pair": {
            "name": "srresnet-x2",
            "architecture": "srresnet",
            "options": {"blocks": 16, "features": 64},
            "scale": 2,
            "baseline": checkpoint,
            "target": checkpoint,
            "parameters": 9 * total + 500,
            "filters": total,
            "layers": layers,
        },
        "settings": {
            "methods": list(methods), "degradations": list(degradations), "contrast": "mean", "objective": "truth",
            "quadrature": "gauss-legendre", "nodes": 8, "protocol": "default", "resampler": "bicubic", "seed": 0,
            "device": "cpu", "precision": "bf16",
        },
        "images": [
            {"name": name, "path": f"Set14/{name}.png", "sha256": "cd" * 32, "width": 512, "height": 512}
            for name in ("baboon", "lenna")
        ],
        "completeness": [
            {
                "method": "faig", "image": image, "degradation": name, "gap": gap, "loss_target": 310.2,
                "loss_baseline": 912.5, "attributed": -600.4,
            }
            for image, gap in (("baboon", 0.0031), ("lenna", 0.0007)) for name in degradations
        ],
        "seconds": 41.2,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    write_ranking(folder, degradations, methods, layers, total)


def write_ranking(folder, degradations, methods, layers, total):
    generator = np.random.default_rng(0)
    owner = np.repeat(np.arange(len(layers)), [layer["filters"] for layer in layers])
    inside = np.concatenate([np.arange(layer["filters"]) for layer in layers])
    positions = np.arange(len(layers)) / (len(layers) - 1)
    filters, shares = [], []
    for number, degradation in enumerate(degradations):
        score = generator.exponential(size=total) * (0.3 + positions[owner] ** 2 if number == 0 else 1)
        order = np.argsort(-score)
        for rank, flat in enumerate(order, 1):
            layer = layers[owner[flat]]
            filters.append(
                (
                    degradation,
                    layer["name"],
                    inside[flat] // layer["in"],
                    inside[flat] % layer["in"],
                    f"{score[flat]:.6g}",
                    rank,
                )
            )
        for method in methods:
            for percent in (1, 5):
                chosen = order[: max(12, round(total * percent / 100))]
                for index, layer in enumerate(layers):
                    selected = int((owner[chosen] == index).sum())
                    shares.append(
                        (
                            method,
                            degradation,
                            percent,
                            layer["name"],
                            positions[index],
                            layer["filters"],
                            selected,
                            selected / len(chosen),
                        )
                    )
    write_table(folder / "filters.csv", "degradation,layer,out,in,score,rank", filters)
    write_table(folder / "distribution.csv", "method,degradation,percent,layer,position,filters,selected,share", shares)


def damage_rows(degradations, methods, percents):
    for method in methods:
        for percent in percents:
            for masked in degradations:
                for name in (*degradations, "clean"):
                    grown = 1 - np.exp(-0.9 * percent)
                    own = name == masked
                    strength = STRENGTH.get(method, 0.01) * grown
                    effect = strength if own else strength * LEAK.get(method, 0.5) * (0.4 if name == "clean" else 1)
                    yield {
                        "method": method, "percent": percent, "masked": masked, "input": name, "distance": 7.1 * effect,
                        "distance_reference": 9.3 * effect, "psnr": 26.4 - 4 * effect, "ssim": 0.81 - 0.2 * effect,
                        "removal": 1.6 * effect if own and effect < 0.6 else 0.97 if own else "",
                        "preservation": "" if own else 1 - 1.5 * effect,
                    }  # fmt: skip


def write_judgement(folder, degradations, methods, percents, held_out=True):
    rows = list(damage_rows(degradations, methods, percents))
    write_table(folder / "damage.csv", ",".join(rows[0]), [list(row.values()) for row in rows])
    networks = [
        (network, name, psnr, psnr / 33)
        for name in (*degradations, "clean")
        for network, psnr in (("baseline", 22.7), ("target", 25.2))
    ]
    write_table(folder / "networks.csv", "network,input,psnr,ssim", networks)
    about = {
        "images": [{"name": "chelsea", "path": "held/chelsea.png", "sha256": "ef" * 32, "width": 96, "height": 80}],
        "held_out": held_out, "metrics": "PSNR and SSIM: RGB, 8-bit rounding, 2 border pixels cropped",
        "percents": list(percents), "seed": 0, "seconds": 30.1,
        "command": ["filterlens", "mask", str(folder.name), "--images", "held"],
    }  # fmt: skip
    (folder / "mask.json").write_text(json.dumps(about), encoding="utf-8")


def degraded(image, name, generator):
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    if name.startswith("noise"):
        noisy = np.asarray(small, float) + generator.normal(0, 25, (small.height, small.width, 3))
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    return small.filter(ImageFilter.GaussianBlur(1.0))


def write_pictures(folder, images, degradations):
    """Pretend: the baseline enlarges; the target is the truth, a little softened; edits fall back on the input."""
    (folder / "pictures").mkdir()
    generator, listing = np.random.default_rng(1), []

    def add(picture, **words):
        file = f"pictures/{len(listing):03d}.png"
        picture.save(folder / file)
        listing.append({"masked": None, "method": None, "percent": None, **words, "file": file})

    for name, truth in images.items():
        for kind in degradations:
            small = degraded(truth, kind, generator)
            enlarged = small.resize(truth.size, Image.Resampling.BICUBIC)
            target = Image.blend(enlarged, truth, 0.8)
            for what, picture in (("input", small), ("truth", truth), ("baseline", enlarged), ("target", target)):
                add(picture, image=name, input=kind, what=what)
            for masked in degradations:
                part = 0.95 if masked == kind else 0.06
                edited = Image.blend(target, enlarged, part)
                add(edited, image=name, input=kind, what="masked", masked=masked, method="faig", percent=1)
    (folder / "pictures.json").write_text(json.dumps(listing), encoding="utf-8")


def textured(width=96, height=80):
    y, x = np.mgrid[:height, :width]
    waves = 127 + 60 * np.sin(x / 5) + 60 * np.cos(y / 7)
    return Image.fromarray(np.stack([waves, waves[::-1], waves[:, ::-1]], axis=2).astype(np.uint8))


def write_run(
    folder,
    *,
    degradations=("blur:2", "noise:0.1"),
    methods=METHODS,
    percents=(1, 5),
    layers=None,
    images=None,
    judged=True,
    held_out=True,
):
    folder.mkdir(parents=True)
    write_attribution(folder, degradations, methods, layers or layers_of())
    if judged:
        write_judgement(folder, degradations, methods, percents, held_out)
        write_pictures(folder, {"chelsea": textured()} if images is None else images, degradations)
    return folder


@pytest.fixture
def make_run(tmp_path):
    """Write a run folder; keywords as :func:`write_run`."""
    return lambda **options: write_run(tmp_path / "run", **options)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder and the page of a whole run, built once."""
    from filterlens.report.build import build_report

    folder = write_run(tmp_path_factory.mktemp("whole") / "run")
    return folder, build_report(folder).read_text(encoding="utf-8")


def edit_table(path: Path, change):
    """Rewrite a table row by row with a function from dict to dict."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [change(row) for row in csv.DictReader(stream)]
    write_table(path, ",".join(rows[0]), [list(row.values()) for row in rows])


@pytest.fixture
def edit():
    return edit_table
