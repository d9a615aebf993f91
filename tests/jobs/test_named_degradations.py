# SPDX-License-Identifier: Apache-2.0
"""Later commands on a run whose degradations are pairs and functions: classify, adapter, report, app."""

import json
import shutil

import pytest
import torch
from PIL import Image

from filterlens import Degradation, ModelPair
from filterlens.app.scene import Handling
from filterlens.app.session import first_handling
from filterlens.app.studio import open_studio
from filterlens.app.words import labels, picture_hint, plain
from filterlens.attribution.result import load_attributions
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.photographs import photograph, square
from filterlens.data.samples import as_samples
from filterlens.degradations.inputs import Channels, inputs_of
from filterlens.diagnosis.calibration import calibrate_on_images
from filterlens.diagnosis.overlap import Reading, input_magnitudes, overlap_scores
from filterlens.errors import UsageError
from filterlens.evaluation.settings import MaskSettings
from filterlens.jobs.adapter import found_adapter
from filterlens.jobs.attribute import attribute_to_folder
from filterlens.jobs.calibration import Given, calibration_images
from filterlens.jobs.classify import CACHE, filters_of_run, rankings_of
from filterlens.jobs.mask import mask_to_folder
from filterlens.report.build import build_report
from filterlens.run.folder import RUN, SCORES, mask_command, require_run
from tests.noting import Noting
from tests.small_srresnet import save_small_pair

CPU = torch.device("cpu")
SETTINGS = AttributeSettings(nodes=1, precision="fp32", quadrature="gauss-legendre")


def save_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)


def write_pairs(folder, text, top):
    """Write one pair of 64x64 and 32x32 pixels, and return both folders."""
    truth = square(photograph("astronaut"), 64, top, 180)
    lowered = Degradation.parse(text).apply(truth[None].float() / 255, 2)[0]
    save_png(folder / "gt" / "a.png", truth)
    save_png(folder / "lq" / "a.png", (255 * lowered).round().to(torch.uint8))
    return folder / "lq", folder / "gt"


def darker(image):
    return image[..., ::2, ::2] * 0.5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a small pair, pairs of images, and two runs: of pairs alone, and of everything."""
    folder = tmp_path_factory.mktemp("named")
    save_small_pair(folder, scale=2, features=8, blocks=1)
    pair = ModelPair.load(folder / "baseline.safetensors", folder / "target.safetensors")
    pairs = {"rain": write_pairs(folder / "rain", "noise:0.1", 60), "haze": write_pairs(folder / "haze", "blur:2", 90)}
    how = {"settings": SETTINGS, "allow_small": True}
    attribute_to_folder(pair, None, None, folder / "pairs", pairs=pairs, **how)
    named = {"dark": darker, "blur:2": "blur:2", "soft": "blur:1"}
    some = {"rain": pairs["rain"]}
    attribute_to_folder(pair, pairs["haze"][1], named, folder / "mixed", pairs=some, **how)
    judging = MaskSettings(percents=(10,), controls=False, pictures=1)
    mask_to_folder(folder / "pairs", None, judging, pairs=pairs, pair=pair)
    return folder


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made / "pairs", tmp_path / "pairs")


@pytest.fixture
def mixed(made, tmp_path):
    return shutil.copytree(made / "mixed", tmp_path / "mixed")


def opened(made):
    return ModelPair.load(made / "baseline.safetensors", made / "target.safetensors")


def test_pairs_are_calibrated_on_their_own_inputs_and_on_the_clean_ones_of_their_truths(made):
    """The same thresholds as inputs made here: each LQ has its name, each truth reduced by two has none."""
    pair, reading = opened(made), Reading(nodes=2, precision="fp32")
    found = rankings_of(load_attributions(made / "pairs" / SCORES)["faig"])
    given = {name: (made / name / "lq", made / name / "gt") for name in ("rain", "haze")}
    inputs = inputs_of(None, None, given)
    sets = found.selections(pair, 10)
    table = calibrate_on_images(
        pair, {10: sets}, inputs.truths(), known=inputs.degradations, reading=reading
    )[10]  # fmt: skip
    scores = []
    for name, (lq, gt) in given.items():
        (low,), (truth,) = as_samples(lq), as_samples(gt)
        for present, image in ((name, low.truth(1)), ("", Degradation().apply(truth.truth(2), 2))):
            scores.append((present, overlap_scores(input_magnitudes(pair, image, reading=reading), sets, 10)))
    for name, each in table.items():
        sides = [
            [(score[name] >= each.threshold) == side for present, score in scores if (present == name) is side]
            for side in (True, False)
        ]
        assert each.balanced_accuracy == pytest.approx(sum(sum(side) / len(side) for side in sides) / 2)
        assert each.hidden_by == ()


def test_a_run_of_pairs_is_calibrated_on_its_recorded_pairs(run):
    progress = Noting()
    _, found = filters_of_run(run, 10.0, CPU, progress=progress)
    assert set(found.calibrations[10.0]) == {"rain", "haze"} and not progress.notes


def test_other_pairs_are_calibrated_on_again_and_kept_under_their_content(run, made, tmp_path):
    filters_of_run(run, 10.0, CPU)
    before = (run / CACHE).read_bytes()
    other = {"rain": write_pairs(tmp_path / "other", "noise:0.05", 120)}
    filters_of_run(run, 10.0, CPU, pairs=other)
    after = (run / CACHE).read_bytes()
    assert before != after
    moment = (run / CACHE).stat().st_mtime_ns
    filters_of_run(run, 10.0, CPU, pairs=other)
    assert (run / CACHE).stat().st_mtime_ns == moment


def test_pairs_that_are_gone_are_named_and_nothing_is_calibrated(run):
    facts = json.loads((run / RUN).read_text())
    facts["images"][0]["lq"] |= {"path": "gone.png", "absolute": "/gone.png", "relative": "gone.png"}
    (run / RUN).write_text(json.dumps(facts))
    progress = Noting()
    _, found = filters_of_run(run, 10.0, CPU, progress=progress)
    assert not found.calibrations
    assert "Nothing is calibrated: Images of the pairs for 'rain'" in progress.notes[-1]
    with pytest.raises(UsageError, match=r"'fog' is no degradation of '.*'\. Legal: rain, haze"):
        filters_of_run(run, 10.0, CPU, pairs={"fog": (torch.ones(1, 3, 32, 32), torch.ones(1, 3, 64, 64))})


def test_a_function_is_given_again_or_nothing_is_calibrated(mixed):
    progress = Noting()
    _, found = filters_of_run(mixed, 10.0, CPU, progress=progress)
    assert not found.calibrations and "knows 'dark' by a function of your own" in progress.notes[-1]
    _, found = filters_of_run(mixed, 10.0, CPU, degradations={"dark": darker})
    assert set(found.calibrations[10.0]) == {"dark", "blur:2", "soft", "rain"}
    with pytest.raises(UsageError, match="'dark' is another function"):
        filters_of_run(mixed, 10.0, CPU, degradations={"dark": lambda image: image})


def test_pairs_that_were_given_in_memory_are_asked_for(run):
    facts = json.loads((run / RUN).read_text())
    for side in (facts["images"][0], facts["images"][0]["lq"]):
        for key in ("path", "absolute", "relative"):
            side.pop(key, None)
    (run / RUN).write_text(json.dumps(facts))
    progress = Noting()
    assert not filters_of_run(run, 10.0, CPU, progress=progress)[1].calibrations
    assert "was given in memory, not as files. Give the pairs again." in progress.notes[-1]


def test_what_has_no_truth_is_calibrated_against_the_other_pairs_alone(made):
    facts = require_run(made / "pairs")
    given = Given.of({name: (made / name / "lq", None) for name in ("rain", "haze")}, None, Channels())
    images = calibration_images(made / "pairs", facts, given, Channels())
    assert not images.clean and list(images.degradations) == ["rain", "haze"]


@pytest.mark.parametrize("name", ["rain", "haze"])
def test_adapters_hold_the_filters_of_a_name(made, name):
    found = found_adapter([name], 10, run=made / "pairs")
    expected = load_attributions(made / "pairs" / SCORES)["faig"].select(name, 10)
    assert len(found) == len(expected) and found.card["degradations"] == [name]
    assert found.card["scores"]["inputs"] == {name: {"pairs": 1}}
    assert str(made) not in json.dumps(found.card)


def test_adapters_of_functions_say_which_and_a_strange_name_is_told(made):
    card = found_adapter(["dark", "blur:2.0"], 10, run=made / "mixed").card
    assert card["degradations"] == ["dark", "blur:2"]
    assert card["scores"]["inputs"]["dark"]["function"] == "darker" and "blur:2" not in card["scores"]["inputs"]
    with pytest.raises(UsageError, match=r"'rian'. Did you mean 'rain'\? Legal: blur:2, dark, rain, soft"):
        found_adapter(["rian"], 10, run=made / "mixed")
    with pytest.raises(UsageError, match="'blur:2' is given twice"):
        found_adapter(["blur:2", "blur:2.0"], 10, run=made / "mixed")


def test_the_report_uses_the_names_and_invents_no_words(made, run, mixed):
    page = build_report(run).read_text(encoding="utf-8")
    assert "answer rain and haze?" in page and "input with &#39;rain&#39;" in page
    assert "restoration of inputs with &#39;haze&#39;" in page and "degraded by" not in page
    assert f"1 pair: LQ of {made / 'rain' / 'lq'}, GT of {made / 'rain' / 'gt'}" in page
    assert "a (LQ)" in page and "to judge them, rain" in page
    page = build_report(mixed).read_text(encoding="utf-8")
    assert "function darker of tests.jobs.test_named_degradations, SHA-256" in page
    assert "mask_to_folder(Path" in page and "&#39;dark&#39;: function" in page


def test_the_command_that_judges_asks_for_what_the_run_needs():
    def command(degradations, inputs):
        return mask_command("run", {"settings": {"degradations": degradations, "inputs": inputs}})

    assert command(["blur:2", "soft"], {"soft": "blur:1"}) == "filterlens mask run --images DIR"
    assert command(["rain"], {"rain": {"pairs": 2}}) == "filterlens mask run --pairs rain=LQ_FOLDER,GT_FOLDER"
    both = command(["blur:2", "rain"], {"rain": {"pairs": 2}})
    assert both == "filterlens mask run --images DIR --pairs rain=LQ_FOLDER,GT_FOLDER"
    assert "degradations={'dark': function}" in command(["dark"], {"dark": {"function": "f"}})


def test_the_app_dials_names_and_does_not_try_to_make_them(made, run, tmp_path):
    studio = open_studio(run=run, scratch=tmp_path, device=CPU)
    assert studio.degradations == ("rain", "haze")
    assert first_handling(studio.degradations) == Handling()  # no blur that nobody asked for
    assert picture_hint(studio.degradations).startswith("&#39;rain&#39; and &#39;haze&#39; cannot be made here")
    assert not picture_hint(["blur:2"])
    assert first_handling(["rain", "noise:0.1"]).noise == 0.1
    assert labels(("rain", "blur", "blur:2")) == {"rain": "Undo rain", "blur": "Undo blur", "blur:2": "Deblur"}
    assert plain("jpeg") == "jpeg" and plain("jpeg:30") == "JPEG artefacts"
    assert studio.save_adapter(tmp_path, "rain", studio.percents[-1]).is_file()
