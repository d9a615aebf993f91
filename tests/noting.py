# SPDX-License-Identifier: Apache-2.0
"""What a job told its user."""

from filterlens.progress import Silent


class Noting(Silent):
    """Keeps notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)
