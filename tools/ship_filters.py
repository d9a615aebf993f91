# SPDX-License-Identifier: Apache-2.0
"""Put the best filters of a shipped pair into the package, with thresholds calibrated on training images.

python tools/ship_filters.py runs/claims-srresnet-x2 srresnet-x2 --calibrate DIR --count 60
"""

import argparse
from pathlib import Path

from filterlens.attribution.result import load_attributions
from filterlens.cli.console import Terminal
from filterlens.data.samples import as_samples
from filterlens.diagnosis.calibration import calibrate_on_images
from filterlens.diagnosis.found_filters import FoundFilters, save_found_filters
from filterlens.diagnosis.overlap import Reading, precision_on
from filterlens.errors import FilterlensError
from filterlens.files import sha256_of
from filterlens.jobs.classify import PERCENTS, rankings_of
from filterlens.models.pretrained import filters_file
from filterlens.pair import ModelPair
from filterlens.run.folder import SCORES, require_run


def ship(run: Path, name: str, folder: Path, count: int) -> Path:
    """Write the filters of a pair: rankings of a run folder, calibrated on the central patches of ``count`` images."""
    facts, pair, reading = require_run(run), ModelPair.pretrained(name), Reading()
    if any(facts["pair"][role]["sha256"] != pair.facts[role]["sha256"] for role in ("baseline", "target")):
        raise FilterlensError(f"'{run}' was made with other weights than those of '{name}'.")
    found = rankings_of(load_attributions(run / SCORES)["faig"], max(PERCENTS))
    samples = as_samples(folder)
    samples = samples[:: max(1, len(samples) // count)][:count]
    settings = facts["settings"]
    selections = {percent: found.selections(pair, percent) for percent in PERCENTS}
    tables = calibrate_on_images(
        pair, selections, samples, seed=settings["seed"], resampler=settings["resampler"], progress=Terminal()
    )
    provenance = {
        "pair": name,
        "method": "faig",
        "settings": settings,
        "discovery_images": [{key: each[key] for key in ("name", "sha256")} for each in facts["images"]],
        "calibration_images": [{"name": each.name, "sha256": sha256_of(each.path or "")} for each in samples],
        "calibration_inputs": "the central 64x64 LR patch of every image: clean, each degradation, each two",
        "reading": {"objective": reading.objective, "nodes": reading.nodes, "precision": precision_on(pair, reading)},
    }
    path = filters_file(name)
    save_found_filters(path, FoundFilters(found.rankings, tables, provenance), pair)
    for percent, table in tables.items():
        for degradation, each in table.items():
            print(f"{percent:g} % {degradation}: {each}")
    return path


def main() -> None:
    """Read the arguments and ship."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of `filterlens attribute --pair NAME`")
    parser.add_argument("name", help="name of the pair, for example srresnet-x2")
    parser.add_argument("--calibrate", type=Path, required=True, metavar="DIR", help="HR images to calibrate on")
    parser.add_argument("--count", type=int, default=60, help="how many of them, spread over the folder")
    arguments = parser.parse_args()
    print(ship(arguments.run, arguments.name, arguments.calibrate, arguments.count))


if __name__ == "__main__":
    main()
