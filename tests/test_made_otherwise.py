"""Targets that were made otherwise, state that is kept between batches, and losses that targets alone move."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from rows import rows_of
from torch import Tensor, nn

import thalweg
from thalweg import Recipe, Splits
from thalweg.diagnosis import Cause
from thalweg.diagnosis.checks.made_otherwise import targets_made_otherwise
from thalweg.diagnosis.checks.wiring import wiring_flaws
from thalweg.diagnosis.flaw import Sure

RANDOM = np.random.default_rng(0)


def counts(n: int, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    x = RANDOM.normal(size=(n, 3))
    return x, RANDOM.poisson(factor * np.exp(0.5 + 0.4 * x[:, 0])).astype(np.float32)


def flaws(x: np.ndarray, y: np.ndarray, split: str = "validation") -> list[str]:
    return [flaw.mechanism for flaw in targets_made_otherwise(rows_of(*counts(600), "train"), rows_of(x, y, split))]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_sums_over_a_longer_time(split: str) -> None:
    assert flaws(*counts(300, 3.0), split) == [f"{split} targets made otherwise"]
    assert flaws(*counts(300)) == []


def test_a_label_forgotten_in_one_split() -> None:
    x = RANDOM.normal(size=(900, 3))
    y = np.stack([x[:, 0] > 0, x[:, 1] > 0], 1).astype(np.float32)
    forgotten = y.copy()
    forgotten[RANDOM.random(900) < 0.6, 1] = 0
    train, other = rows_of(x[:600], forgotten[:600], "train"), rows_of(x[600:], y[600:], "validation")
    (flaw,) = targets_made_otherwise(train, other)
    assert "Target 1" in flaw.says
    assert 0.2 < flaw.number < 0.45


def test_another_share_of_the_classes_shows_in_the_inputs_too() -> None:
    y = np.arange(900) % 2
    x = RANDOM.normal(size=(900, 3)) + 3 * y[:, None]
    few = np.flatnonzero((y == 1) | (np.arange(900) % 6 == 0))
    assert targets_made_otherwise(rows_of(x, y, "train"), rows_of(x[few], y[few], "test")) == []


@pytest.mark.parametrize("classes", [True, False])
def test_inputs_that_tell_little_say_nothing_of_how_targets_came_about(classes: bool) -> None:
    """A split with as many of each class, or chosen by its targets: inputs that hardly tell of these look alike."""
    random = np.random.default_rng(3)
    y = (random.random(6000) < 0.2).astype(np.int64) if classes else random.normal(size=(6000, 1)).astype(np.float32)
    x = random.normal(size=(6000, 4)) + 0.15 * y.reshape(-1, 1) * np.eye(4)[0]
    often = y.ravel() == 1 if classes else y.ravel() > 0.3
    chosen = 4000 + np.flatnonzero(often[4000:] | (random.random(2000) < 0.25))
    train, other = rows_of(x[:4000], y[:4000], "train"), rows_of(x[chosen], y[chosen], "validation")
    assert targets_made_otherwise(train, other) == []


class Keeping(nn.Module):
    """A recurrent network that begins a batch where it left the one before, unless it is told not to."""

    def __init__(self, keeps: bool) -> None:
        super().__init__()
        self.keeps, self.rnn, self.head = keeps, nn.RNN(1, 8, batch_first=True), nn.Linear(8, 1)
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        before = self.state if self.keeps and self.state is not None and self.state.shape[1] == len(x) else None
        states, after = self.rnn(x, before)
        self.state = after.detach()
        return self.head(states[:, -1])


@pytest.mark.parametrize("keeps", [True, False])
def test_a_state_that_is_kept_between_batches(keeps: bool) -> None:
    x = torch.randn(128, 5, 1, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(data=Splits(train=(x, x.sum(1))), model=partial(Keeping, keeps), objective=nn.MSELoss())
    found = [flaw.mechanism for flaw in wiring_flaws(recipe, device=torch.device("cpu"))]
    assert ("state kept between batches" in found) == keeps


class Settled(nn.Module):
    """Takes its scale from the first batch that it is given, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.head = None, nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.scale = x.std() if self.scale is None else self.scale
        return self.head(x / self.scale)


def test_what_the_first_batch_settles_for_good_is_no_state() -> None:
    x = torch.randn(128, 1, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(data=Splits(train=(x, x)), model=Settled, objective=nn.MSELoss())
    found = [flaw.mechanism for flaw in wiring_flaws(recipe, device=torch.device("cpu"))]
    assert "state kept between batches" not in found


@pytest.mark.parametrize(("steps", "sure"), [(5, Sure.CERTAIN), (10, Sure.LIKELY)])
def test_a_state_that_is_all_but_forgotten_need_not_be_the_cause(steps: int, sure: Sure) -> None:
    x = torch.randn(128, steps, 1, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(data=Splits(train=(x, x.sum(1))), model=partial(Keeping, True), objective=nn.MSELoss())
    found = {flaw.mechanism: flaw for flaw in wiring_flaws(recipe, device=torch.device("cpu"))}
    assert found["state kept between batches"].sure is sure


def test_a_loss_of_counts_that_falls_where_targets_grow_hides_no_mismatch() -> None:
    """With three times the counts the loss is lower; what is lost against the targets themselves is not."""
    (x, y), (other, grown) = counts(900), counts(400, 3.0)
    pairs = [tuple(map(torch.from_numpy, (a.astype(np.float32), b[:, None]))) for a, b in ((x, y), (other, grown))]
    (inputs, targets), test = pairs
    splits: Any = Splits(train=(inputs[:600], targets[:600]), validation=(inputs[600:], targets[600:]), test=test)
    recipe = Recipe(
        data=splits, model=partial(nn.Linear, 3, 1), objective=nn.PoissonNLLLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.05), epochs=20,
    )  # fmt: skip
    finding = thalweg.diagnose(recipe)
    assert finding.losses["test"].value < finding.losses["validation"].value
    assert finding.cause is Cause.MISMATCH


class TwoHeads(nn.Module):
    """Two outputs for two tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(x).relu()
        return self.first(hidden), self.second(hidden)


@pytest.mark.parametrize("both", [True, False])
def test_an_output_that_no_loss_reads_is_likely_a_flaw(both: bool) -> None:
    @thalweg.objective
    def of_tasks(model: nn.Module, batch: Any) -> Tensor:
        first, second = model(batch["x"])
        losses = (second - batch["second"]).square()
        return (losses + (first - batch["first"]).square() if both else losses).flatten()

    x = torch.randn(128, 3, generator=torch.Generator().manual_seed(0))
    data = [{"x": own, "first": own[:1], "second": own[1:2]} for own in x]
    recipe = Recipe(data=Splits(train=data), model=TwoHeads, objective=of_tasks)
    found = [flaw for flaw in wiring_flaws(recipe, device=torch.device("cpu")) if flaw.mechanism == "no gradient"]
    assert [flaw.sure for flaw in found] == ([] if both else [Sure.LIKELY])
    assert both or "first.weight" in found[0].says
