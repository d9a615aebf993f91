# SPDX-License-Identifier: Apache-2.0
"""How a strength is written, so that reading it back gives the same number."""


def written(value: float) -> str:
    """Return the shortest text that reads back as ``value``; never with a plus sign, which joins effects.

    Example:
        >>> written(2.0), written(0.1), written(1e7)
        ('2', '0.1', '10000000')
    """
    return str(int(value)) if value == int(value) else repr(float(value))
