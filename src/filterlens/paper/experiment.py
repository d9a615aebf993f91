# SPDX-License-Identifier: Apache-2.0
"""What an experiment is: a name, its own settings, and a function from the laboratory to an outcome."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from filterlens.paper.laboratory import Laboratory
from filterlens.paper.outcome import Outcome
from filterlens.paper.settings import Settings


@dataclass(frozen=True)
class Experiment:
    """One table or figure.

    Attributes:
        name: As the command line and the recipe's section name it.
        title: Of the page.
        summary: One line for lists.
        settings: The class of its section in a recipe; all fields have defaults.
        run: Computes; everything slow goes through the laboratory, which resumes.
    """

    name: str
    title: str
    summary: str
    settings: type[Settings]
    run: Callable[[Laboratory, Any], Outcome]
