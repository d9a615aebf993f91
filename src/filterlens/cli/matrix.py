# SPDX-License-Identifier: Apache-2.0
"""One method's own/cross matrix, laid out for the terminal."""

import csv
from pathlib import Path


def own_cross_matrix(damage: Path, method: str, percent: float) -> str:
    """Read ``damage.csv`` and return the rows of one method at one percentage as text."""
    with damage.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["method"] == method and float(row["percent"]) == percent]
    rows.sort(key=lambda row: row["masked"])
    lines = [
        f"The top {percent:g} % of the filters by {method}, replaced by the baseline's:",
        f"  {'filters for':<16} {'input':<16} {'':<6} {'distance':>9}  removed / kept",
    ]
    for row in rows:
        own = row["removal"] != ""
        share = row["removal"] if own else row["preservation"]
        effect = f"{'removed' if own else 'kept   '} {float(share):7.1%}" if share else ""
        kind = "own" if own else "cross"
        lines.append(f"  {row['masked']:<16} {row['input']:<16} {kind:<6} {float(row['distance']):9.3f}  {effect}")
    return "\n".join(lines)
