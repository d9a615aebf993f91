# SPDX-License-Identifier: Apache-2.0
"""``filterlens classify``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, complain, described, result
from filterlens.errors import UsageError

if TYPE_CHECKING:
    from filterlens.diagnosis.classify import Verdict
    from filterlens.jobs.classify import Classified


def classify(
    images: Annotated[
        Path,
        typer.Argument(
            help="Folder of low-resolution images, as the network takes them, or one image.", show_default=False
        ),
    ],
    pair: options.PairName = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run folder whose pair and ranking to use instead.", show_default=False),
    ] = None,
    baseline: options.RunBaseline = None,
    target: options.RunTarget = None,
    architecture: options.RunArchitecture = None,
    call: options.Call = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "--pairs",
            help="With --run: images to calibrate on for a degradation that the run knows by pairs, "
            "NAME=LQ_FOLDER,GT_FOLDER; repeat it.",
            show_default="the run's own",
        ),
    ] = None,
    percent: Annotated[
        float, typer.Option("--percent", help="Share of the filters in each of the two sets, in percent.")
    ] = 1.0,
    thresholds: Annotated[
        str,
        typer.Option("--thresholds", help="calibrated (on training images) or paper (noise 0.6, blur and others 0.5)."),
    ] = "calibrated",
    whole: Annotated[
        bool, typer.Option("--whole", help="Judge whole images instead of four 64x64 patches; slower.")
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the table to this file.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a --csv that this command did not write.")] = False,
    recursive: options.Recursive = False,
    strict: options.Strict = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    json: options.Json = False,
) -> None:
    """Classify how each image is degraded, from the filters that the network uses on it; no ground truth is needed.

    The overlap score of a degradation is the share of the filters used on this image that are also among those found
    for the degradation. The confidence is the product, over the degradations that can be told, of the calibrated
    probability that the label is right about each.
    """
    from filterlens.diagnosis.classify import THRESHOLDS
    from filterlens.diagnosis.found_filters import shipped_filters
    from filterlens.diagnosis.overlap import Reading
    from filterlens.errors import unknown
    from filterlens.execution.hardware import resolve_device
    from filterlens.jobs.classify import classify_images, filters_of_run
    from filterlens.jobs.inputs import named_pairs
    from filterlens.jobs.pairs import RunPair

    if pair and run:
        raise UsageError("Give either --pair or --run, not both.")
    if (architecture or call or baseline or target) and run is None:
        raise UsageError("--architecture, --baseline and --target go with --run.")
    if pairs and (run is None or thresholds == "paper"):
        raise UsageError("--pairs gives images to calibrate on: it goes with --run, and not with --thresholds paper.")
    if thresholds not in THRESHOLDS:
        raise unknown("set of thresholds", thresholds, THRESHOLDS)
    if csv is not None:
        _check_table(csv, force)
    reading, where, terminal = Reading(precision=precision, whole=whole), resolve_device(device), Terminal()
    if run is None:
        opened, found = shipped_filters(pair or "srresnet-x2", where)
    else:
        calibrated = thresholds == "calibrated"
        opened, found = filters_of_run(
            run,
            percent,
            where,
            reopening=RunPair(options.own_code(architecture, call), baseline, target),
            calibrated=calibrated,
            pairs=named_pairs(pairs),
            progress=terminal,
        )
        if calibrated and not found.calibrations:
            terminal.note("Using the paper's thresholds; confidence is not known.")
            thresholds = "paper"
    classifier = found.classifier(opened, percent, thresholds, reading)
    done = classify_images(images, classifier, terminal, strict=strict, recursive=recursive)
    failed = [each.left_out for each in done if each.left_out is not None]
    names = tuple(classifier.selections)
    if csv is not None:
        _write_csv(csv, done, names, force)
    value = {
        "pair": opened.name or None,
        "percent": percent,
        "threshold_set": thresholds,
        "thresholds": dict(classifier.thresholds),
        "images": [_entry(each) for each in done if each.verdict is not None],
        "failures": described(failed),
    }
    result(value, _table(done, names), json)
    complain(failed)


def _entry(done: "Classified") -> dict[str, Any]:
    verdict = done.verdict
    assert verdict is not None
    return {
        "image": str(done.path),
        "label": verdict.label,
        "confidence": verdict.confidence,
        "scores": dict(verdict.scores),
        "probabilities": dict(verdict.probabilities),
        "unseen": list(verdict.unseen),
        "seconds": done.seconds,
    }


def _check_table(path: Path, force: bool) -> None:
    """Refuse, before anything is computed, to replace a table that this command did not write."""
    from filterlens.errors import FilterlensError
    from filterlens.record import Record

    if path.exists() and not path.is_file():
        raise UsageError(f"--csv {path} is no file. Give a file, for example {path / 'verdicts.csv'}.")
    if path.exists() and not force and not Record(path.parent, "classify").is_ours(path.name):
        raise FilterlensError(
            f"'{path}' exists already, and classify did not write it so. Give another name, or --force to overwrite."
        )


def _write_csv(path: Path, done: "list[Classified]", names: tuple[str, ...], force: bool) -> None:
    from filterlens.record import Record
    from filterlens.run.rows import write_table

    header = ["image", "label", "confidence", "unseen", *(f"overlap {name}" for name in names)]
    judged = [(each.path, each.verdict) for each in done if each.verdict is not None]
    rows = [
        [str(path), verdict.label, verdict.confidence, " ".join(verdict.unseen), *_scores(verdict, names)]
        for path, verdict in judged
    ]
    with Record(path.parent, "classify").writing(path.name, force=force):
        write_table(path, header, rows)


def _scores(verdict: "Verdict", names: tuple[str, ...]) -> list[float]:
    return [verdict.scores[name] for name in names]


def _table(done: "list[Classified]", names: tuple[str, ...]) -> str:
    rows = [("image", "label", "confidence", *(f"overlap {name}" for name in names), "")]
    for each in done:
        verdict = each.verdict
        if verdict is None:
            rows.append((each.path.name, "failed", "", *("" for _ in names), ""))
            continue
        confidence = "unknown" if verdict.confidence is None else f"{verdict.confidence:.2f}"
        hidden = f"{' and '.join(verdict.unseen)} cannot be seen beneath it" if verdict.unseen else ""
        overlaps = (f"{score:.2f}" for score in _scores(verdict, names))
        rows.append((each.path.name, verdict.label, confidence, *overlaps, hidden))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
