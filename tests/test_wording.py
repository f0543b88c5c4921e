"""Numbers as a page shows them."""

import math
from typing import Any

import pytest

from thalweg.report import interval, quantity


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.000"),
        (-0.0, "0.000"),
        (1e-9, "1e-09"),
        (-1e9, "−1e+09"),
        (12345.6, "12,346"),
        (True, "–"),
        (math.inf, "–"),
    ],
)
def test_numbers_read_well(value: Any, text: str) -> None:
    assert quantity(value) == text


def test_a_small_negative_number_does_not_show_as_minus_nothing() -> None:
    assert interval({"value": -0.001, "low": -2.0, "high": 2.0}, sign=True) == "0.0 [−2.0, +2.0]"
