# SPDX-License-Identifier: Apache-2.0
"""``filterlens adapter`` and ``restore --adapter``: from a ranking to a file, onto a base, into a checkpoint."""

import pickle
import zipfile

import numpy as np
import png
import pytest
import torch
from PIL import Image

from filterlens import Adapter, adapt, load_network
from filterlens.attribution.result import load_attributions
from filterlens.data.images import read_image, to_float, to_uint8
from filterlens.editing.dial import modulate
from filterlens.models.checkpoints import save_network
from filterlens.pair import ModelPair
from tests.cli.test_bad_input import refused

SHIPPED = ("adapter", "export", "--pair", "srresnet-x2", "--degradation", "blur:2")


@pytest.fixture
def exported(run, attribute, tmp_path):
    """A run folder, and adapters for deblurring and denoising from its ranking (6 % of 624 filters)."""
    outcome, folder = attribute()
    assert outcome.code == 0, outcome.err
    for name, degradation in (("deblur", "blur:2"), ("denoise", "noise:0.1")):
        path = tmp_path / f"{name}.safetensors"
        outcome = run("adapter", "export", "--run", folder, "--degradation", degradation, "--percent", 6, "-o", path)
        assert outcome.code == 0, outcome.err
    return folder


def sources(checkpoints):
    return tuple(load_network(checkpoints / f"{role}.safetensors").network for role in ("baseline", "target"))


def restored(network, images, name):
    with torch.no_grad():
        return to_uint8(network(to_float(read_image(images / f"{name}.png"))))


def test_from_a_ranking_to_restored_images_and_a_merged_checkpoint(run, exported, checkpoints, images, tmp_path):
    baseline, _ = sources(checkpoints)
    deblur, denoise = (Adapter.load(tmp_path / f"{name}.safetensors") for name in ("deblur", "denoise"))
    ranking = next(iter(load_attributions(exported / "scores.safetensors").values()))
    assert torch.equal(deblur.selection(ranking.space).mask, ranking.select("blur:2", 6).mask)
    uses = [
        "--adapter",
        f"{tmp_path / 'deblur.safetensors'}=0.8",
        "--adapter",
        f"{tmp_path / 'denoise.safetensors'}=1.1",
    ]
    base = ["--base", checkpoints / "baseline.safetensors"]
    outcome = run("restore", images, tmp_path / "high", *base, *uses, "--tile", 30, "--json")
    assert outcome.code == 0, outcome.err
    network = adapt(baseline, [(deblur, 0.8), (denoise, 1.1)])
    for name in ("astronaut", "chelsea"):  # in tiles of 30 pixels: equal to the whole image
        assert torch.equal(read_image(tmp_path / "high" / f"{name}.png"), restored(network, images, name))
    merged = tmp_path / "merged.safetensors"
    assert run("adapter", "merge", *base, *uses, "-o", merged).code == 0
    assert run("restore", images, tmp_path / "again", "--model", merged).code == 0
    for name in ("astronaut.png", "chelsea.png"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "high" / name).read_bytes()


def test_an_adapter_is_no_base_and_a_base_no_adapter(run, exported, checkpoints, images, tmp_path):
    adapter, network = tmp_path / "deblur.safetensors", checkpoints / "target.safetensors"
    refused(run("restore", images, tmp_path / "o", "--base", adapter), 1, "is an adapter, not a network", "--adapter")
    refused(run("restore", images, tmp_path / "o", "--base", network, "--adapter", network), 1, "is no adapter")


def test_on_the_target_a_strength_is_the_same_as_restore_without(run, exported, checkpoints, images, tmp_path):
    target = ["--base", checkpoints / "target.safetensors", "--adapter", f"{tmp_path / 'deblur.safetensors'}=0.25"]
    assert run("restore", images, tmp_path / "a", *target).code == 0
    known = ["--run", exported, "--without", "blur:2", "--percent", 6, "--strength", 0.25]
    assert run("restore", images, tmp_path / "b", *known).code == 0
    for name in ("astronaut.png", "chelsea.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_show_tells_what_a_file_holds(run, exported, checkpoints, tmp_path):
    outcome = run("adapter", "show", tmp_path / "deblur.safetensors")
    assert outcome.code == 0, outcome.err
    for words in (
        "37 filters, 5.93 % of 624",
        "degradations: blur:2",
        "share: 6 % of the filters",
        "baseline: weights ",
        "faig",
    ):
        assert words in outcome.out
    value = run("adapter", "show", tmp_path / "deblur.safetensors", "--json").json()
    assert value["filters"] == 37 == sum(each["here"] for each in value["weights"].values())
    assert value["bytes"] == (tmp_path / "deblur.safetensors").stat().st_size
    assert value["card"]["scores"]["images"]["count"] == 2
    assert str(tmp_path) not in str(value["card"])  # nobody's paths travel with an adapter


def test_several_degradations_become_one_adapter(run, exported, tmp_path):
    both = ["--degradation", "blur:2", "--degradation", "noise:0.1"]
    path = tmp_path / "both.safetensors"
    assert run("adapter", "export", "--run", exported, *both, "--percent", 6, "-o", path).code == 0
    space = next(iter(load_attributions(exported / "scores.safetensors").values())).space
    parts = [Adapter.load(tmp_path / f"{name}.safetensors").selection(space).mask for name in ("deblur", "denoise")]
    assert torch.equal(Adapter.load(path).selection(space).mask, parts[0] | parts[1])


def test_shipped_rankings_give_adapters_of_shipped_pairs(run, images, tmp_path):
    path = tmp_path / "deblur.safetensors"
    outcome = run("adapter", "export", "--pair", "srresnet-x2", "--degradation", "blur:2", "-o", path, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json()["filters"] == 1519
    pair = ModelPair.pretrained("srresnet-x2")
    one = tmp_path / "one"
    one.mkdir()
    Image.fromarray(np.array(Image.open(images / "chelsea.png"))[:24, :24]).save(one / "chelsea.png")
    found = Adapter.load(path).selection(pair.space)
    for base, strength, expected in (
        ("srresnet-x2", 0, pair.network(pair.baseline)),
        ("srresnet-x2/target", 0, modulate(pair, found, 0)),
        ("srresnet-x2/target", 1, pair.network(pair.target)),
    ):
        outcome = run("restore", one, tmp_path / "high", "--base", base, "--adapter", f"{path}={strength}", "--force")
        assert outcome.code == 0, outcome.err
        assert torch.equal(read_image(tmp_path / "high" / "chelsea.png"), restored(expected, one, "chelsea"))


def test_a_retrained_baseline_becomes_an_adapter_that_restores_alike(run, exported, checkpoints, images, tmp_path):
    again = tmp_path / "retrained.safetensors"
    outcome = run(
        "retrain", exported, "--degradation", "blur:2", "--images", images, "--percent", 6, "--iterations", 3,
        "--batch", 2, "--patch", 16, "--precision", "fp32", "-o", again,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    path, base = tmp_path / "trained.safetensors", checkpoints / "baseline.safetensors"
    for source in (["--run", exported], ["--baseline", base]):
        outcome = run("adapter", "export", "--retrained", again, *source, "-o", path, "--force", "--json")
        assert outcome.code == 0, outcome.err
    card = outcome.json()["card"]
    assert (card["holds"], card["degradations"], card["training"]["iterations"]) == (
        "re-trained filters",
        ["blur:2"],
        3,
    )
    baseline, target = sources(checkpoints)
    network, trained = adapt(baseline, [(Adapter.load(path), 1)]), load_network(again).network
    for name, value in network.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name])
    assert 0 < outcome.json()["filters"] <= 37
    with torch.no_grad():
        target.conv_hr.bias += 0.1
    save_network(tmp_path / "t.safetensors", target, "srresnet", {"scale": 2, "features": 8, "blocks": 2}, {})
    refused(
        run("adapter", "export", "--retrained", tmp_path / "t.safetensors", "--baseline", base, "-o", path, "--force"),
        1, "changed more than filters", ".bias'",
    )  # fmt: skip
    wrong = ["--baseline", checkpoints / "target.safetensors"]
    refused(run("adapter", "export", "--retrained", again, *wrong, "-o", path, "--force"), 1, "another baseline")


def test_an_adapter_on_another_base_is_refused_and_taken_when_told_to(run, exported, images, checkpoints, tmp_path):
    other = load_network(checkpoints / "target.safetensors")
    with torch.no_grad():
        other.network.conv_hr.bias += 0.01
    save_network(tmp_path / "other.safetensors", other.network, other.architecture, other.options, {})
    words = [
        "restore", images, tmp_path / "high", "--base", tmp_path / "other.safetensors",
        "--adapter", f"{tmp_path / 'deblur.safetensors'}=0",
    ]  # fmt: skip
    refused(run(*words), 1, "deblur.safetensors' belongs to another base", "adapter show")
    refused(run(*words, "--force"), 1, "another base")
    assert not (tmp_path / "high").exists()
    outcome = run(*words, "--any-base")
    assert outcome.code == 0 and "warning: " in outcome.err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["restore", "in", "out", "--adapter", "a=1"], "--adapter needs --base"),
        (["restore", "in", "out", "--base", "srresnet-x2", "--pair", "srresnet-x2"], "--base names the network"),
        (["restore", "in", "out", "--architecture", "srresnet"], "--architecture says what"),
        (["restore", "in", "out", "--base", "srresnet-x9"], "Did you mean 'srresnet-x2'"),
        (["restore", "in", "out", "--base", "srresnet-x2/targte"], "Did you mean 'target'"),
        (["restore", "in", "out", "--base", "srresnet-x2", "--adapter", "a.safetensors=lots"], "is not a strength"),
        (["restore", "in", "out", "--base", "srresnet-x2", "--blend", "-3"], "An overlap of -3"),
        ([*SHIPPED, "-o", "a.safetensors", "--percent", 7], "--run"),
        (["adapter", "export", "-o", "a.safetensors"], "Where are the scores"),
        (["adapter", "export", "--pair", "srresnet-x2", "-o", "a.safetensors"], "Whose filters"),
        (["adapter", "export", "--pair", "srresnet-x2", "--degradation", "jpeg:30", "-o", "a.safetensors"], "jpeg:30"),
        ([*SHIPPED, "-o", "a.txt"], "ends in .safetensors"),
        (["adapter", "export", "--retrained", "r", "-o", "a.safetensors"], "What was re-trained"),
        (["adapter", "merge", "--base", "srresnet-x2", "-o", "m.pth"], "Missing option"),
    ],
)
def test_wrong_use_exits_with_2_and_writes_nothing(run, monkeypatch, tmp_path, images, words, part):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").symlink_to(images)
    refused(run(*words), 2, part)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_bad_adapters_and_bases_fail_by_name_and_nothing_runs(run, images, checkpoints, exported, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"params": Evil()}, tmp_path / "evil-zip.pth")
    good = checkpoints / "baseline.safetensors"

    def attempt(base, adapter):
        return run("restore", images, tmp_path / "high", "--base", base, "--adapter", f"{adapter}=1")

    deblur = tmp_path / "deblur.safetensors"
    refused(attempt(tmp_path / "evil.pth", deblur), 1, "would run code")
    refused(attempt(tmp_path / "evil-zip.pth", deblur), 1, "would run code")
    refused(attempt(good, tmp_path / "evil.pth"), 1, "not an intact adapter")
    refused(attempt(good, good), 1, "is no adapter")
    refused(attempt(good, tmp_path / "none.safetensors"), 1, "does not exist")
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(deblur.read_bytes()[:-7])
    refused(attempt(good, truncated), 1, "not an intact adapter")
    refused(run("adapter", "show", truncated), 1, "not an intact adapter")
    refused(run("adapter", "merge", "--base", tmp_path / "evil.pth", "--adapter", deblur, "-o", tmp_path / "m.pth"), 1)
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "high").exists() and not (tmp_path / "m.pth").exists()


def test_existing_files_are_kept_unless_forced(run, exported, checkpoints, images, tmp_path):
    path = tmp_path / "deblur.safetensors"
    before = path.read_bytes()
    words = ["adapter", "export", "--run", exported, "--degradation", "blur:2", "--percent", 3, "-o", path]
    refused(run(*words), 1, "exists already", "--force")
    assert path.read_bytes() == before
    assert run(*words, "--force").code == 0 and len(path.read_bytes()) < len(before)
    third = path.read_bytes()
    again = run(*words)
    assert again.code == 0 and "holds this very adapter already" in again.err
    assert path.read_bytes() == third
    (tmp_path / "folder.safetensors").mkdir()
    refused(run(*words[:-1], tmp_path / "folder.safetensors"), 1, "is a folder")


def test_cards_cannot_control_the_terminal_or_name_files(run, exported, tmp_path):
    adapter = Adapter.load(tmp_path / "deblur.safetensors")
    nested = "end"
    for _ in range(50):
        nested = [nested]
    evil = {"degradations": ["../../etc/passwd\x1b[2J\n"], "holds": "\x1b]0;title\x07" + "x" * 9999, "scores": nested}
    Adapter(adapter.pieces, {**adapter.card, **evil}).save(tmp_path / "evil.safetensors")
    before = sorted(tmp_path.rglob("*"))
    outcome = run("adapter", "show", tmp_path / "evil.safetensors")
    assert outcome.code == 0 and "../../etc/passwd [2J" in outcome.out
    assert all(line.isprintable() and len(line) < 300 for line in outcome.out.splitlines())
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_file_holds_besides_its_colours_comes_back(run, checkpoints, tmp_path):
    source = tmp_path / "low"
    source.mkdir()
    dice = np.random.default_rng(0)
    Image.fromarray(dice.integers(0, 256, (20, 24, 4), dtype=np.uint8)).save(source / "alpha.png")
    Image.fromarray(dice.integers(0, 256, (20, 24), dtype=np.uint8)).save(source / "gray.png")
    Image.fromarray(dice.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(source / "web.webp", lossless=True)
    deep = dice.integers(0, 65536, (20, 24 * 3), dtype=np.uint16)
    with (source / "deep.png").open("wb") as stream:
        png.Writer(24, 20, greyscale=False, bitdepth=16).write(stream, deep.tolist())
    model = ["--model", checkpoints / "target.safetensors"]
    outcome = run("restore", source, tmp_path / "high", *model)
    assert outcome.code == 0, outcome.err
    kinds = {}
    for path in (tmp_path / "high").glob("[!.]*"):
        with Image.open(path) as image:
            kinds[path.name] = (image.format, image.mode, image.size)
    assert kinds == {
        "alpha.png": ("PNG", "RGBA", (48, 40)),
        "gray.png": ("PNG", "L", (48, 40)),
        "web.webp": ("WEBP", "RGB", (48, 40)),
        "deep.png": ("PNG", "RGB", (48, 40)),
    }
    network = load_network(checkpoints / "target.safetensors").network
    lowered = torch.from_numpy((deep.reshape(20, 24, 3) / 65535).astype(np.float32)).permute(2, 0, 1).unsqueeze(0)
    with torch.no_grad():
        expected = (network(lowered).clamp(0, 1) * 65535).round()[0].permute(1, 2, 0).numpy()
    *_, rows, info = png.Reader(bytes=(tmp_path / "high" / "deep.png").read_bytes()).read()
    assert info["bitdepth"] == 16
    found = np.array(list(rows)).reshape(expected.shape)
    assert np.abs(found - expected).max() <= 1 and len(np.unique(found & 255)) > 200


def test_one_image_may_go_to_one_file(run, images, checkpoints, tmp_path):
    words = ["restore", images / "chelsea.png"]
    model = ["--model", checkpoints / "target.safetensors"]
    assert run(*words, tmp_path / "new" / "cat.webp", *model).code == 0
    with Image.open(tmp_path / "new" / "cat.webp") as image:
        assert (image.format, image.size) == ("WEBP", (128, 128))
    refused(run(*words, tmp_path / "new" / "cat.webp", *model), 1, "exists already")
    refused(run(*words, images / "chelsea.png", *model, "--force"), 2, "Input and output are both")


def test_image_bombs_and_files_that_are_no_images_write_nothing(run, checkpoints, images, tmp_path):
    from tests.data.test_images import png_that_claims
    from tests.data.test_pictures import bomb

    model = ["--model", checkpoints / "target.safetensors"]
    source = tmp_path / "low"
    source.mkdir()
    for name, content, words in (
        ("huge.png", png_that_claims(60_000, 60_000), "suspiciously large"),
        ("bomb.png", bomb(megabytes=16), "decompression bomb"),
        ("text.png", b"no image", "not an image"),
        ("zip.png", None, "not an image"),
        ("cut.webp", (images / "chelsea.png").read_bytes()[:99], "cut.webp"),
    ):
        path = source / name
        if content is None:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("../../climbed.png", "x")
        else:
            path.write_bytes(content)
        refused(run("restore", source, tmp_path / "high", *model), 1, name, words)
        path.unlink()
        assert not (tmp_path / "high").exists()
    limited = ["--max-megapixels", 0.004]
    refused(run("restore", images, tmp_path / "high", *model, *limited), 1, "suspiciously large", "4096 pixels")
    assert run("restore", images, tmp_path / "high", *model, "--max-megapixels", 0.0041).code == 0
    refused(run("restore", images, tmp_path / "h", *model, "--max-megapixels", -1), 2, "limit of -1e+06 pixels")


def test_an_animation_is_restored_with_a_note(run, checkpoints, tmp_path):
    frames = [Image.new("RGB", (20, 20), (value, 0, 0)) for value in (10, 200)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    outcome = run("restore", tmp_path / "two.gif", tmp_path / "high", "--model", checkpoints / "target.safetensors")
    assert outcome.code == 0 and "'two.gif' holds 2 frames: only the first one" in outcome.err


def test_a_checkpoint_that_does_not_say_its_architecture_is_told_it(run, checkpoints, images, tmp_path):
    weights = load_network(checkpoints / "target.safetensors").network.state_dict()
    torch.save(weights, tmp_path / "bare.pth")
    for name, words in (("base", "--base"), ("model", "--model")):
        words = [words, tmp_path / "bare.pth", "--architecture"]
        refused(run("restore", images, tmp_path / name, *words, "srresnt"), 2, "Did you mean 'srresnet'")
        assert run("restore", images, tmp_path / name, *words, "srresnet").code == 0


@pytest.mark.parametrize("strength", ["1e308", "-1e9", "nan", "inf", "-inf", "101", "x"])
def test_a_strength_that_leaves_nothing_of_a_picture_is_refused(run, tmp_path, strength):
    base = ["--base", "srresnet-x2/target", "--adapter", f"{tmp_path / 'deblur.safetensors'}={strength}"]
    refused(run("adapter", "merge", *base, "-o", tmp_path / "merged.safetensors"), 2, f"'{strength}'", "0.8")
    assert not (tmp_path / "merged.safetensors").exists()


def test_a_method_is_chosen_of_a_run_alone(run, tmp_path):
    words = ["adapter", "export", "--pair", "srresnet-x2", "--method", "ig", "--degradation", "blur:2"]
    refused(run(*words, "-o", tmp_path / "a.safetensors"), 2, "--method ig", "--pair srresnet-x2")
