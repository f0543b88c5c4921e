"""Inputs that never reach the output, and whether they tell of the targets."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from thalweg import Recipe, Splits
from thalweg.diagnosis.checks.wiring import wiring_flaws

CPU = torch.device("cpu")


class Read(nn.Module):
    """A classifier that reads a part of its inputs."""

    def __init__(self, part: Callable[[Tensor], Tensor], width: int) -> None:
        super().__init__()
        self.part, self.net = part, nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.part(x).flatten(1))


def mechanisms(x: Tensor, y: Tensor, model: Callable[[], nn.Module]) -> list[str]:
    recipe = Recipe(data=Splits(train=(x, y)), model=model, objective=nn.CrossEntropyLoss())
    return [flaw.says for flaw in wiring_flaws(recipe, device=CPU) if flaw.mechanism == "inputs that are not read"]


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("part", "width", "where"),
    [
        (lambda x: x[:, 0], 3, "axis 1 from 1 to 7"),
        (lambda x: x[:, :, :2], 16, "axis 2 at 2"),
        (lambda x: x[:, 2:6], 12, "axis 1 from 0 to 1; axis 1 from 6 to 7"),
    ],
)
def test_steps_and_columns_that_never_reach_the_output_are_named(
    part: Callable[[Tensor], Tensor], width: int, where: str
) -> None:
    x = drawn(400, 8, 3)
    y = (x.sum((1, 2)) > 0).long()  # every number tells something
    (says,) = mechanisms(x, y, lambda: Read(part, width))
    assert where in says


def test_what_tells_nothing_need_not_be_read() -> None:
    x = drawn(400, 8, 3)
    y = (x[:, 0].sum(1) > 0).long()
    assert mechanisms(x, y, lambda: Read(lambda x: x[:, 0], 3)) == []


def test_all_that_is_read_is_no_flaw_whatever_else_is_wrong() -> None:
    x = drawn(400, 8, 3)
    y = (x.sum((1, 2)) > 0).long()
    assert mechanisms(x, y, lambda: Read(lambda x: x, 24)) == []
    assert mechanisms(x, y, lambda: Read(lambda x: x.mean((1, 2)), 1)) == []


def test_tokens_and_several_inputs_are_exchanged_too() -> None:
    tokens = torch.randint(0, 5, (400, 6), generator=torch.Generator().manual_seed(0))
    y = ((tokens == 2).sum(1) > 1).long()

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.embedding(x)[:, -1])

    (says,) = mechanisms(tokens, y, Tokens)
    assert "axis 1 from 0 to 4" in says


def test_a_number_for_each_example_beside_other_inputs_may_be_unread() -> None:
    x, more = drawn(400, 3), torch.randn(400, generator=torch.Generator().manual_seed(1))
    y = (x.sum(1) + 3 * more > 0).long()

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 2)

        def forward(self, x: Tensor, more: Tensor) -> Tensor:
            return self.net(x)

    recipe = Recipe(data=Splits(train=((x, more), y)), model=First, objective=nn.CrossEntropyLoss())
    found = [flaw.mechanism for flaw in wiring_flaws(recipe, device=CPU)]
    assert "inputs that are not read" in found
