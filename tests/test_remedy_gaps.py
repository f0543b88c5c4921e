"""Gaps in inputs and targets: filled, marked, left out; refused as they are, and proved against what they cost."""

import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from thalweg import Cause, Recipe, Remedy, Splits
from thalweg.core.errors import DataError
from thalweg.data import augment
from thalweg.diagnosis import Budget, Finding
from thalweg.diagnosis.flaw import Flaw, Raises
from thalweg.diagnosis.laboratory import lay_out
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.remedy import remedies_for
from thalweg.remedy.circle import Circle
from thalweg.remedy.gaps import filled, readable, refused, with_targets, without_gaps
from thalweg.remedy.improve import _final
from thalweg.remedy.repairing import judged_rightly
from thalweg.training.build import open_split

FILLS, LEAVES, TARGETS = (
    "gaps in the inputs filled and marked",
    "without the train examples that have gaps",
    "without the examples whose target is missing",
)
DRAW = torch.Generator().manual_seed(0)
X = torch.randn(200, 3, generator=DRAW)
Y = X[:, :1] - 2 * X[:, 1:2]
PARTS = slice(0, 140), slice(140, 200)


def network(columns: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(columns, 8), nn.ReLU(), nn.Linear(8, 1))


def recipe(x: Tensor, y: Tensor = Y, cut: int = 140, **changes: Any) -> Recipe:
    made = Recipe(
        data=Splits(train=(x[:cut], y[:cut]), validation=(x[cut:], y[cut:])),
        model=network,
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.Adam, lr=0.02),
        epochs=8,
    )
    return made.but(**changes)


def holed(values: Tensor, share: float = 0.2, upto: int = 200) -> Tensor:
    holes = torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) < share
    holes[upto:] = False
    return torch.where(holes, torch.nan, values)


def named(start: Recipe, name: str) -> Remedy:
    """A remedy that the diagnosis offers, by its name."""
    (remedy,) = (each for each in thalweg.diagnose(start, budget=1).remedies if each.name == name)
    return remedy


def test_inputs_with_gaps_are_filled_and_proved() -> None:
    start = recipe(holed(X))
    with pytest.raises(DataError, match="not finite"):
        thalweg.train(start)
    remedy = pickle.loads(pickle.dumps(named(start, FILLS)))
    proof = thalweg.prove(judged_rightly(start, remedy(start)), remedy)
    assert proof.helped, proof.sentence
    assert np.isfinite([after for _, _, after in proof.pairs]).all()
    assert np.isinf([before for _, before, _ in proof.pairs]).all()


def test_rows_without_gaps_are_left_where_validation_has_none() -> None:
    start = recipe(holed(X, upto=140))
    remedy = named(start, LEAVES)
    left = remedy(start).data.train
    whole = torch.isfinite(start.data.train[0]).all(1)
    assert torch.equal(left.data[0], X[:140][whole])
    proof = thalweg.prove(judged_rightly(start, remedy(start)), remedy)
    assert proof.helped, proof.sentence
    everywhere = recipe(holed(X))
    assert without_gaps(everywhere) is everywhere


def test_examples_without_target_are_neither_trained_on_nor_judged() -> None:
    start = recipe(X, holed(Y))
    remedy = named(start, TARGETS)
    changed = remedy(start)
    assert len(changed.data.train) == int(torch.isfinite(start.data.train[1]).sum())
    assert len(changed.data.validation) == int(torch.isfinite(start.data.validation[1]).sum())
    proof = thalweg.prove(judged_rightly(start, changed), remedy)
    assert proof.helped, proof.sentence


def test_what_is_filled_is_what_the_model_fills() -> None:
    """Raw rows and those of the changed data are one to the model; medians and marks are those of a plain loop."""
    x = holed(X)
    x[3, 1] = torch.inf
    start = recipe(x, data=Splits(train=(x[:140], Y[:140]), validation=(x[140:], Y[140:]), test=(x, Y)))
    changed = filled(start)
    told = changed.data.train.data[0]
    assert told.shape == (140, 6)
    for j in range(3):
        column = x[:140, j].numpy()
        known = np.sort(column[np.isfinite(column)])
        median = known[(len(known) - 1) // 2]
        for i in range(140):
            lacks = not np.isfinite(column[i])
            assert told[i, j] == (median if lacks else column[i])
            assert told[i, 3 + j] == float(lacks)
    model = changed.model().eval()
    assert torch.equal(model(x), model(changed.data.test.data[0]))
    assert not refused(changed)
    assert filled(changed) is changed
    finding = thalweg.diagnose(changed, budget=1)
    assert not [flaw for flaw in finding.flaws if "not finite" in flaw.mechanism]


def test_marks_tell_what_a_gap_tells() -> None:
    """Where what is missing is the large numbers, the mark alone says so."""
    x = X.clone()
    x[x[:, 0] > 0.3, 0] = torch.nan
    start = recipe(x, (X[:, :1] > 0.3).float())
    losses = {}
    for name, changed in {"marked": filled(start), "filled": filled(start.but(model=lambda: Plain()))}.items():
        assert changed.data.train.data[0].shape[1] == (4 if name == "marked" else 3)
        run = thalweg.train(changed.but(epochs=20))
        losses[name] = run.history[-1]["validation_loss"]
    assert losses["marked"] < 0.5 * losses["filled"]


class Plain(nn.Module):
    """A network whose first layer does not read the inputs themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.net(x[:, :2])
        return output


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4), (5, 2)])
def test_inputs_of_any_shape_are_filled(shape: tuple[int, ...]) -> None:
    x = holed(torch.randn(60, *shape, generator=DRAW, dtype=torch.float64))
    x[..., 0] = torch.nan  # nothing is known of it
    start = recipe(x, torch.zeros(60, 1), cut=40, model=lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(1).double()))
    changed = filled(start.but(data=augment(start.data, noise=0.1)))
    assert type(changed.data.train).__name__ == "Augmented"
    assert bool(torch.isfinite(changed.data.train.source.data[0]).all())
    assert bool(torch.isfinite(changed.model().eval()(x)).all())


def test_what_has_no_gaps_or_nothing_left_is_given_back() -> None:
    start = recipe(X)
    for change in (filled, without_gaps, with_targets):
        assert change(start) is start
    lost = recipe(torch.full_like(X, torch.nan), data=Splits(train=(torch.full_like(X, torch.nan), Y)))
    assert without_gaps(lost) is lost
    none = recipe(X, torch.full_like(Y, torch.nan))
    assert with_targets(none) is none
    assert filled(lacking := recipe(holed(X), torch.full_like(Y, torch.nan))) is lacking
    words = recipe(X.long(), model=lambda: nn.Embedding(9, 1))
    assert filled(words) is words


def test_a_loader_of_tensors_is_filled_and_keeps_its_batches() -> None:
    loaders = [DataLoader(TensorDataset(holed(X)[part], Y[part]), batch_size=7, shuffle=True) for part in PARTS]
    start = recipe(X, data=Splits(*loaders))
    assert thalweg.train(start).status is thalweg.Outcome.DIVERGED
    changed = filled(start)
    assert changed.batch_size == 7
    assert thalweg.train(changed).status is thalweg.Outcome.FINISHED
    assert changed.data.train.data[0].shape == (140, 6)
    odd = DataLoader(TensorDataset(holed(X), Y), batch_size=7, drop_last=True, shuffle=True)
    assert filled(left := recipe(X, data=Splits(odd))) is left


def test_readable_splits_keep_examples_and_order() -> None:
    start = recipe(holed(X))
    source: Any = open_split(readable(start), readable(start).data.train, "train")
    assert len(source.take([0, 2])) == 2
    assert source.meta([0]) == {}
    assert source.count_batches() == 5
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    batches = [x for x, _ in source.batches(1, 0, generators[0])]
    order = torch.cat(source.ordered(1, generators[1]))
    assert torch.equal(torch.cat(batches).nan_to_num(), start.data.train[0][order].nan_to_num())


def test_gaps_of_test_alone_are_a_mismatch() -> None:
    flaw = Flaw(Cause.DATA, Mechanism.INPUTS_NOT_FINITE, "It is seen", 1.0, "", "", "", raises=Raises.TEST)
    assert remedies_for(Finding(Cause.MISMATCH, "", flaws=(flaw,)))[0].name == FILLS
    start = recipe(X, data=Splits(train=(X[:100], Y[:100]), validation=(X[100:], Y[100:]), test=(holed(X), Y)))
    changed = filled(start)
    assert bool(torch.isfinite(changed.model()(holed(X))).all())
    assert changed.data.train.data[0].shape == (100, 3)


# --- what is left out, and the halves of test ---

NUMBERED = torch.arange(300.0)[:, None]


def without_some_targets(lacking: int, gaps: float) -> Recipe:
    """A recipe some of whose train targets and so many of whose test targets are missing."""
    x, y = NUMBERED[:, :1].expand(300, 2).clone(), torch.sin(NUMBERED / 50)
    train, test = y[:100].clone(), y[150:256].clone()
    train[:3] = torch.nan
    test[torch.randperm(len(test), generator=torch.Generator().manual_seed(2))[:lacking]] = torch.nan
    x[:, 1:] = holed(x[:, 1:], gaps)
    data = Splits(train=(x[:100], train), validation=(x[100:150], y[100:150]), test=(x[150:256], test))
    return recipe(X, data=data, model=lambda: network(2))


def circle(start: Recipe, now: Recipe) -> Circle:
    return Circle(start, now, Budget(), "cpu", lambda stage: None, lambda diary: None)


@pytest.mark.parametrize("lacking", [2, 10])
@pytest.mark.parametrize("change", [with_targets, filled])
def test_the_unread_half_stays_unread_where_test_examples_are_left_out(lacking: int, change: Any) -> None:
    start = without_some_targets(lacking, gaps=0.2 if change is filled else 0.0)
    changed = change(start)
    assert changed is not start
    probe = lay_out(changed, torch.device("cpu"), Budget(), lambda stage: None).probe
    final, judged_on = _final(circle(start, changed))
    assert judged_on.startswith("the half")
    read, unread = (set(half.data[0][:, 0].tolist()) for half in (probe, final))
    assert not read & unread
    assert len(read) + len(unread) == 106 - lacking
    assert bool(torch.isfinite(final.data[1]).all())


def test_gaps_of_test_alone_are_filled_and_proved() -> None:
    """A laboratory has no test split: how the gaps are filled is found on the whole recipe, and holds there."""
    holes = X.clone()
    holes[::3, 0] = torch.nan
    data = Splits(train=(X[:100], Y[:100]), validation=(X[100:], Y[100:]), test=(holes, Y))
    start = recipe(X, data=data, epochs=2)
    remedy = Remedy(FILLS, Cause.MISMATCH, filled)
    settled = pickle.loads(pickle.dumps(remedy.settled(start)))
    part = start.but(data=Splits(train=data.train, validation=data.validation))
    assert filled(part) is part
    assert torch.equal(settled(part).model().medians, filled(start).model().medians)
    proof = thalweg.prove(start, remedy)
    assert proof.helped, proof.sentence
    assert np.isinf([before for _, before, _ in proof.pairs]).all()
    both = Remedy("longer", Cause.MISMATCH, lambda one: one.but(epochs=3)).then(remedy)
    assert both.settled(start)(part).model().medians.shape == (3,)
    assert both.settled(start).name == both.name


def test_numbers_whose_sum_is_too_large_are_no_gaps() -> None:
    large = torch.full((200, 3), 3e38)
    assert not refused(recipe(large))
    large[150, 1] = torch.inf
    assert refused(recipe(large))
    assert not refused(recipe(X, torch.zeros(200, dtype=torch.long)))
