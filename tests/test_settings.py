# SPDX-License-Identifier: Apache-2.0
"""Settings are values that refuse what they do not know; their docstring is the help."""

import pytest
from pydantic import BaseModel, Field

from filterlens.errors import UsageError
from filterlens.settings import Positive, Seed, Settings, Share, meanings_of


class Bulb(Settings):
    """What shines.

    Attributes:
        watts: Power.
    """

    watts: Positive = 5


class Lantern(Bulb):
    """A lantern with many bulbs.

    Attributes:
        seed: Decides the flicker.
        dimmed: Share of the power.
        further: More bulbs.
        named: Bulbs with names.
    """

    seed: Seed = 0
    dimmed: Share | None = None
    further: tuple[Bulb, ...] = ()
    named: dict[str, Bulb] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wats": 3}, r"^Lamp: Unknown setting 'wats'\. Did you mean 'watts'\?"),
        (
            {"further": [{"wat": 3}]},
            r"^Lamp: further\.0: Unknown setting 'wat'\. Did you mean 'watts'\? Legal: watts\.",
        ),
        ({"named": {"left": {"wat": 3}}}, r"Unknown setting 'wat'\. Did you mean 'watts'\? Legal: watts\."),
        ({"watts": 0, "colour": "red"}, "Unknown setting 'colour'"),  # a typo explains the rest
        ({"watts": 0}, r"watts = 0: Input should be greater than or equal to 1"),
        ({"watts": True}, "watts = True: a number is expected"),
        ({"seed": "7"}, "seed = '7': a number is expected"),
        ({"seed": -1}, "seed = -1"),
        ({"dimmed": float("nan")}, "dimmed"),
        ({"watts": "9" * 1000}, r"^Lamp: watts = '9{79}…: a number is expected\.$"),
        ({"seed": 10**5000}, "seed = a number of 16610 bits"),
    ],
)
def test_what_is_not_legal_is_refused_with_its_name_and_value(given, message):
    with pytest.raises(UsageError, match=message):
        Lantern.of(given, "Lamp")


def test_settings_never_change_and_say_what_they_hold():
    found = Lantern.of({"seed": 3, "further": [{"watts": 2}]})
    with pytest.raises(ValueError, match="frozen"):
        found.seed = 4
    assert found == Lantern(seed=3, further=(Bulb(watts=2),)) and found != Lantern()
    assert found.model_dump(mode="json")["further"] == [{"watts": 2}]


class Lamp(BaseModel):
    """A lamp.

    It shines.

    Attributes:
        power: How much it takes,
            in watts: at most 60.
        colour: Of its light.

    Raises:
        nothing: This is no setting.
    """

    power: int
    colour: str = "white"


def test_meanings_come_from_the_section_of_attributes_alone():
    summary, meanings = meanings_of(Lamp)
    assert summary == "A lamp."
    assert meanings == {"power": "How much it takes, in watts: at most 60.", "colour": "Of its light."}


def test_meanings_of_inherited_settings_stay_known():
    summary, meanings = meanings_of(Lantern)
    assert summary == "A lantern with many bulbs."
    assert meanings["watts"] == "Power." and meanings["seed"] == "Decides the flicker."
