"""Numbers as JSON can hold them: six digits, and nothing where there is no number."""

import math
from typing import Any


def plain(values: Any) -> Any:
    """A number, or numbers in nested sequences, of six digits; None for one that is not finite.

    >>> plain((1 / 3, float("inf"), [2]))
    [0.333333, None, [2.0]]
    """
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    if hasattr(values, "tolist"):
        return plain(values.tolist())
    return float(f"{values:.6g}") if values is not None and math.isfinite(values) else None
