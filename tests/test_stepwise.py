"""Reference learners of sequences: tokens, several inputs, and targets at every step."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thalweg import Recipe, Splits
from thalweg.core.convert import Batching, as_source
from thalweg.diagnosis.floor import Floor, reference_floor
from thalweg.training.judging import Judge


def floor_of(x: Any, y: Tensor, loss: Any) -> Floor | None:
    recipe = Recipe(data=Splits(train=(x, y)), model=partial(nn.Linear, 1, 1), objective=loss)
    return reference_floor(Judge.of(recipe), [as_source(recipe.data.train, "train", Batching(32, None))])


def tokens(n: int = 200, steps: int = 8, kinds: int = 4) -> Tensor:
    return torch.randint(0, kinds, (n, steps), generator=torch.Generator().manual_seed(0))


def tags(x: Tensor) -> Tensor:
    """The token before, of the first step its own."""
    return torch.cat([x[:, :1], x[:, :-1]], 1)


def flattened(output: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output.reshape(-1, output.shape[-1]), y.reshape(-1))


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), flattened])
def test_tags_are_read_from_the_window_around_them(loss: Any) -> None:
    x = tokens()
    floor = floor_of(x, tags(x), loss)
    assert floor is not None
    assert floor.remote
    assert floor.high < 0.1 < 1.2 < floor.null
    assert floor.natural is not None
    assert floor.natural.mean < 0.01


def test_what_padding_holds_counts_nothing() -> None:
    x = tokens()
    y = tags(x)
    y[:, 5:] = -100
    padded = floor_of(x, y, nn.CrossEntropyLoss())
    whole = floor_of(x[:, :5], y[:, :5], nn.CrossEntropyLoss())
    assert padded is not None
    assert whole is not None
    assert padded.high == pytest.approx(whole.high, abs=0.03)


def test_numbers_at_every_step_of_long_sequences() -> None:
    x = torch.randn(60, 40, 2, generator=torch.Generator().manual_seed(0))
    y = x[:, :, :1] - 2 * x[:, :, 1:]
    floor = floor_of(x, y, nn.MSELoss())
    assert floor is not None
    assert floor.high < 0.05 < 3 < floor.null


def test_a_sequence_stays_whole_in_the_folds() -> None:
    """The target is drawn for each sequence: steps of the same one would tell it, other sequences do not."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(60, 1, 8, generator=draw).repeat_interleave(10, 1) + 0.01 * torch.randn(60, 10, 8, generator=draw)
    y = torch.randint(0, 2, (60, 1), generator=draw).repeat_interleave(10, 1)
    floor = floor_of(x, y, nn.CrossEntropyLoss())
    assert floor is not None
    assert floor.natural is not None
    assert floor.natural.mean > 0.35


def test_one_target_of_tokens_or_of_several_inputs() -> None:
    x = tokens(400)
    floor = floor_of(x, (x[:, 2] > 1).long(), nn.CrossEntropyLoss())
    assert floor is not None
    assert floor.remote
    assert floor.high < 0.15
    first = torch.randn(400, 3, generator=torch.Generator().manual_seed(1))
    floor = floor_of((x, first), ((x[:, 2] > 1) ^ (first[:, 0] > 0)).long(), nn.CrossEntropyLoss())
    assert floor is not None
    assert floor.high < 0.45 < 0.68 < floor.null


def test_inputs_without_the_steps_of_the_targets_are_left_to_siblings() -> None:
    assert floor_of(torch.randn(50, 7), tokens(50), nn.CrossEntropyLoss()) is None


def test_whole_numbers_are_read_as_numbers_where_classes_tell_nothing() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(600, 3, generator=draw)
    y = torch.poisson((0.8 + 0.7 * x[:, 0]).exp(), generator=draw).long()

    def counted(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.poisson_nll_loss(output.squeeze(1), target.float(), full=True)

    floor = floor_of(x, y, counted)
    assert floor is not None
    assert floor.by != "the best constant"
    assert floor.high < 0.9 * floor.null
    labels = floor_of(x, (x[:, 0] > 0).long(), nn.CrossEntropyLoss())
    assert labels is not None
    assert labels.by == "boosted trees" or labels.high < 0.1
