# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from filterlens.degradations import Degradation, GaussianBlur
from filterlens.degradations.ranges import BlurRange, NoiseRange, parse_range
from filterlens.errors import UsageError
from filterlens.models.complexity import complexity
from filterlens.models.one_branch import SRResNet
from filterlens.paper.peers.arms import arms_of, both_arms, gaussian8, published_arms, settings_of
from filterlens.paper.peers.settings import PeerSettings
from filterlens.paper.published import BRANCHES, PEER_QUALITY
from tests.paper.peers.small import SMALL


@pytest.mark.parametrize("peer", ["dan", "dasr"])
def test_no_other_number_of_blocks_comes_nearer_to_the_peer(peer):
    two, one = both_arms(peer, 2, {"features": 16, "blocks": 2})
    assert two.has_two_branches and not one.has_two_branches
    assert one.network["features"] == 16 and one.peer == peer

    def distance(blocks):
        return abs(complexity(SRResNet(2, 16, blocks)).multiply_adds - two.complexity.multiply_adds)

    best = one.network["blocks"]
    assert distance(best) == min(distance(blocks) for blocks in range(max(1, best - 3), best + 4))
    assert one.complexity == complexity(SRResNet(2, 16, best))


def test_published_sizes_need_deep_one_branch_networks():
    arms = published_arms(4)
    assert [arm.label for arm in arms] == ["DAN", "SRResNet-240", "DASR", "SRResNet-25"]
    assert [arm.network for arm in arms if arm.has_two_branches] == [{}, {}]


def test_arms_can_be_keys():
    arms = arms_of(SMALL)
    assert [arm.name for arm in arms] == ["dan", "srresnet as dan", "dasr", "srresnet as dasr"]
    assert len(dict.fromkeys(arms)) == 4 and arms_of(SMALL) == arms


def test_the_settings_are_the_columns_of_the_papers_table():
    assert [setting.name for setting in settings_of(SMALL)] == list(BRANCHES)


@pytest.mark.parametrize("scale", [2, 4])
def test_every_test_lies_inside_what_was_trained_for(scale):
    for setting in settings_of(PeerSettings(scale=scale)):
        ranges = [parse_range(text) for text, probability in setting.degradations if probability == 1]
        assert len(ranges) == len(setting.degradations)
        blur = next(each for each in ranges if isinstance(each, BlurRange))
        noise = [each for each in ranges if isinstance(each, NoiseRange)]
        assert bool(noise) == ("noise" in setting.name)
        for test in setting.tests:
            given = Degradation.parse(test)
            assert (given.noise is not None) == bool(noise)
            for sigma in () if given.blur is None else (given.blur.sigma, given.blur.sigma_y or given.blur.sigma):
                assert blur.sigma[0] <= sigma <= blur.sigma[1]
            if noise:
                assert noise[0].sigma[0] < given.noise.sigma < noise[0].sigma[1]


def test_the_tests_are_those_of_the_peers_papers():
    two, four = (
        {setting.name: setting.tests for setting in settings_of(PeerSettings(scale=scale))} for scale in (2, 4)
    )
    assert two["DASR blur"] == ("clean", "blur:0.6", "blur:1.2", "blur:1.8")
    assert four["DASR blur"] == ("clean", "blur:1.2", "blur:2.4", "blur:3.6")
    assert {test for peer, scale, test in PEER_QUALITY if (peer, scale) == ("dasr", 2)} == set(two["DASR blur"])
    assert len(two["DAN blur"]) == 8 and two["DAN blur"][0] == "blur:0.8" and four["DAN blur"][-1] == "blur:3.2"


def test_noise_levels_are_given_in_levels_of_an_8_bit_image():
    peers = PeerSettings(training_noise=51, test_noise=25.5)
    setting = next(each for each in settings_of(peers) if each.name == "DASR blur+noise")
    assert setting.degradations[1][0] == "noise:0..0.2"
    assert all(test.endswith("+noise:0.1") for test in setting.tests)


@pytest.mark.parametrize(("scale", "low", "high"), [(2, 0.8, 1.6), (3, 1.35, 2.4), (4, 1.8, 3.2)])
def test_gaussian8_are_eight_round_blurs_in_even_steps(scale: int, low: float, high: float) -> None:
    blurs = [Degradation.parse(text).blur for text in gaussian8(scale)]
    assert all(isinstance(blur, GaussianBlur) and blur.is_isotropic and blur.kernel == 21 for blur in blurs)
    sigmas = [blur.sigma for blur in blurs if isinstance(blur, GaussianBlur)]
    np.testing.assert_allclose(sigmas, np.linspace(low, high, 8), rtol=0, atol=1e-6)


def test_gaussian8_at_4_is_written_as_one_would_write_it() -> None:
    assert gaussian8(4) == [f"blur:{sigma}" for sigma in ("1.8", "2", "2.2", "2.4", "2.6", "2.8", "3", "3.2")]


def test_gaussian8_is_refused_at_other_scales() -> None:
    with pytest.raises(UsageError, match=r"scale = 8.*2, 3, 4"):
        gaussian8(8)
