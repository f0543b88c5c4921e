"""The checker of shapes and types that every test runs under."""

import pytest
import torch
import typechecking
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from thalweg.nn.attention import attend


def summed(x: Float[Tensor, "batch feature"]) -> Float[Tensor, " batch"]:
    return x.sum(-1)


def test_what_is_imported_from_thalweg_is_checked() -> None:
    assert attend.__wrapped__.__module__ == attend.__module__


def test_the_first_calls_of_each_test_are_checked() -> None:
    checked = typechecking.sparingly(summed, typechecker=typechecking.checked)
    for _ in range(2):
        for _ in range(typechecking.MOST):
            with pytest.raises(TypeCheckError, match="batch feature"):
                checked(torch.ones(2, 3, 4))
        assert checked(torch.ones(2, 3, 4)).shape == (2, 3)
        typechecking.begin_test()
