"""What the checks see decides where it harms, and is a note where it does not; what is only likely an arm decides."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

import thalweg
from thalweg.core.source import Splits
from thalweg.diagnosis import Cause, Finding
from thalweg.diagnosis.finding import Arm, Score
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.diagnosis.ranking import Gaps, cause_of, decisive, suspected
from thalweg.diagnosis.screening import Way, fitted_by
from thalweg.training import Recipe

Data = tuple[Tensor, Tensor]


def blobs(n: int = 480, seed: int = 0) -> Data:
    """Three classes in four columns, which a small network tells apart."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, n)
    centres = np.array([[2, 0, 0, 1], [0, 2, 0, -1], [0, 0, 2, 0]])
    return torch.from_numpy((centres[y] + random.normal(0, 0.6, (n, 4))).astype(np.float32)), torch.from_numpy(y)


def parted(x: Tensor, y: Tensor) -> Splits:
    return Splits(train=(x[:320], y[:320]), validation=(x[320:], y[320:]))


def recipe(data: Splits, *more: nn.Module, **changes: Any) -> Recipe:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 3), *more)

    made = Recipe(
        data=data, model=model, objective=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=0.01), epochs=15
    )
    return made.but(**changes)


def mechanisms(finding: Finding) -> list[str]:
    return [flaw.mechanism for flaw in finding.flaws]


def test_a_softmax_too_many_that_costs_is_the_cause() -> None:
    finding = thalweg.diagnose(recipe(parted(*blobs()), nn.Softmax(1), judge=None))
    assert finding.cause is Cause.WIRING, finding
    assert finding.mechanism.startswith("softmax twice: ")
    assert finding.mend is not None
    assert "softmax" in finding.mend
    assert finding.cost.runs == 1
    assert finding.to_json()["flaws"][0]["mechanism"] == "softmax twice"


def test_without_a_flaw_nothing_is_seen_and_nothing_stands_out() -> None:
    finding = thalweg.diagnose(recipe(parted(*blobs())))
    assert finding.cause is Cause.NONE, finding
    assert mechanisms(finding) == []


@pytest.mark.battery
def test_wrong_labels_are_the_cause() -> None:
    x, y = blobs(900)
    wrong = torch.from_numpy(np.random.default_rng(1).random(len(y)) < 0.25)
    finding = thalweg.diagnose(recipe(Splits(train=(x[:600], ((y + wrong) % 3)[:600]), validation=(x[600:], y[600:]))))
    assert finding.cause is Cause.DATA, finding
    assert finding.mechanism.startswith("wrong labels")


def test_a_validation_split_prepared_otherwise_is_the_cause() -> None:
    x, y = blobs()
    finding = thalweg.diagnose(recipe(Splits(train=(x[:320], y[:320]), validation=(x[320:] / 255, y[320:]))))
    assert finding.cause is Cause.DATA, finding
    assert finding.mechanism.startswith("validation prepared otherwise than train")


@pytest.mark.battery
def test_targets_far_from_unit_scale_are_the_cause_where_their_standardization_helps() -> None:
    x, _ = blobs()
    y = 2000 + 300 * (x[:, :1] * x[:, 1:2] + x[:, 2:3])

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 1))

    finding = thalweg.diagnose(recipe(parted(x, y), model=model, objective=nn.MSELoss(), epochs=30), budget=8)
    assert finding.cause is Cause.DATA, finding
    assert finding.mechanism.startswith("targets standardized goes")
    assert finding.remedies[0].name == "targets standardized"
    assert "targets far from unit scale" in mechanisms(finding)


class Sorted(IterableDataset[Data]):
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __iter__(self) -> Iterator[Data]:
        return iter(zip(self.x, self.y, strict=True))


@pytest.mark.parametrize("by_class", [True, False])
def test_a_stream_is_diagnosed_by_its_first_examples_and_its_order_is_seen(by_class: bool) -> None:
    x, y = blobs()
    order = torch.argsort(y[:320], stable=True) if by_class else torch.arange(320)
    stream = DataLoader(Sorted(x[:320][order], y[:320][order]), batch_size=32)
    finding = thalweg.diagnose(recipe(Splits(train=stream, validation=(x[320:], y[320:]))), budget=2)
    assert ("batches of one class" in mechanisms(finding)) is by_class
    assert any("its first 320 examples stand for it" in said for said in finding.notices)


# --- the rule ---


def flaw(cause: Cause = Cause.WIRING, sure: Sure = Sure.CERTAIN, raises: Raises = Raises.TRAIN, **more: Any) -> Flaw:
    given = {"mechanism": Mechanism.OWN_LOOP, "number": 1.0, **more}
    return Flaw(cause, given["mechanism"], "it was seen", given["number"], "0", "mend it", "x", sure, raises)


@pytest.mark.parametrize(
    ("seen", "gaps", "decides"),
    [
        (flaw(), Gaps(True, True, False), True),
        (flaw(), Gaps(False, True, False), False),
        (flaw(), Gaps(None, None, False), True),
        (flaw(sure=Sure.LIKELY), Gaps(True, True, False), False),
        (flaw(raises=Raises.VALIDATION), Gaps(False, True, False), True),
        (flaw(raises=Raises.VALIDATION), Gaps(True, False, False), False),
        (flaw(raises=Raises.TEST), Gaps(False, False, True), True),
        (flaw(raises=Raises.NONE_SEEN), Gaps(True, True, True), False),
        (flaw(Cause.OPTIMIZATION), Gaps(True, True, True), False),
        (flaw(Cause.DATA, Sure.LIKELY, mechanism=Mechanism.WRONG_LABELS, number=0.2), Gaps(False, False, False), True),
        (
            flaw(Cause.DATA, Sure.LIKELY, mechanism=Mechanism.WRONG_LABELS, number=0.02),
            Gaps(False, False, False),
            False,
        ),
        (
            flaw(Cause.DATA, Sure.LIKELY, mechanism=Mechanism.WRONG_LABELS, number=0.2),
            Gaps(True, True, False, (Score(0.5, 0.4, 0.6), None)),
            False,
        ),
    ],
)
def test_harm_decides(seen: Flaw, gaps: Gaps, decides: bool) -> None:
    assert bool(decisive((seen,), gaps)) is decides


def test_the_surest_comes_first_and_a_test_flaw_is_a_mismatch() -> None:
    data, wiring = flaw(Cause.DATA), flaw(sure=Sure.MEASURED)
    gaps = Gaps(True, True, True)
    assert decisive((wiring, data), gaps) == [data, wiring]
    assert cause_of(flaw(Cause.DATA, raises=Raises.TEST)) is Cause.MISMATCH
    likely = flaw(Cause.DATA, Sure.LIKELY)
    assert suspected((data, likely), gaps) == [likely]


def test_a_loop_that_takes_no_step_is_seen_and_nothing_fails(caplog: pytest.LogCaptureFixture) -> None:
    def loop(model: nn.Module, optimizer: Any, batches: Any, objective: Any) -> None:
        for x, y in batches:
            optimizer.zero_grad()
            objective(model(x), y).backward()
            return

    finding = thalweg.diagnose(recipe(parted(*blobs()), loop=loop, epochs=3), budget=3)
    assert finding.cause is Cause.WIRING, finding
    assert "could not be asked" not in caplog.text + " ".join(finding.notices)


def test_one_target_for_all_is_the_cause() -> None:
    x, y = blobs()
    finding = thalweg.diagnose(recipe(parted(x, torch.zeros_like(y)), epochs=3))
    assert finding.cause is Cause.DATA, finding
    assert finding.mechanism.startswith("one target for all: all 320 ")


@pytest.mark.battery
def test_where_no_learner_tells_targets_from_inputs_none_says_so() -> None:
    x, y = blobs(960)
    apart = torch.randperm(960, generator=torch.Generator().manual_seed(0))
    data = Splits(train=(x[:480], y[apart][:480]), validation=(x[480:], y[apart][480:]))
    finding = thalweg.diagnose(recipe(data, optimizer=partial(torch.optim.Adam, lr=3e-3), epochs=6))
    assert finding.cause is Cause.NONE, finding
    assert "look whether the two belong together" in finding.mechanism
    assert "belong together" not in thalweg.diagnose(recipe(parted(*blobs()))).mechanism


class OfEight(nn.Module):
    """A forward that bears batches of eight alone."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        assert len(x) == 8, "not eight"
        return torch.as_tensor(self.out(x))


@pytest.mark.battery
def test_a_model_that_bears_one_size_of_batch_is_diagnosed() -> None:
    slow = partial(torch.optim.SGD, lr=1e-4)
    finding = thalweg.diagnose(
        recipe(parted(*blobs()), model=OfEight, batch_size=8, epochs=4, optimizer=slow), budget=6
    )
    assert finding.cause is not Cause.NONE, finding
    assert finding.stopped_at is None


def test_a_look_at_the_surface_leaves_the_budget_to_the_arms() -> None:
    x, y = blobs(90)
    data = Splits(train=(x[:60], y[:60]), validation=(x[60:], y[60:]))
    finding = thalweg.diagnose(recipe(data, optimizer=partial(torch.optim.SGD, lr=1e-4), epochs=3))
    assert finding.cause is not Cause.NONE, finding
    assert finding.cost.runs > 2
    assert finding.cost.times < 22


def test_the_error_of_a_loop_is_named() -> None:
    def loop(model: Any, optimizer: Any, batches: Any, objective: Any) -> None:
        raise KeyError("k")

    with pytest.raises(thalweg.RunError, match="cannot be trained: KeyError: 'k'"):
        thalweg.diagnose(recipe(parted(*blobs()), loop=loop))


def test_what_the_training_has_shown_waits_behind_what_is_likely() -> None:
    likely = Flaw(Cause.DATA, Mechanism.WRONG_LABELS, "", 1.0, "", "", "", Sure.LIKELY)
    shown = Flaw(Cause.OPTIMIZATION, Mechanism.PLATEAU, "", 1.0, "", "", "", Sure.CERTAIN)
    decided = Flaw(Cause.WIRING, Mechanism.OWN_LOOP, "", 1.0, "", "", "", Sure.CERTAIN)
    assert suspected((shown, decided, likely), Gaps(True, True, mismatched=False)) == [likely, shown]
    assert suspected((shown,), Gaps(False, False, mismatched=False)) == []


def test_an_arm_that_fits_train_and_costs_nothing_elsewhere_speaks_against_another_kind() -> None:
    def arm(train: float, validation: float) -> Arm:
        return Arm("arm", (), Score(train), (0,), validation=validation)

    control, way = arm(1.0, 0.5), Way(1.0, 0.2)
    assert fitted_by([arm(0.6, 0.5), arm(0.9, 0.4)], control, way) == pytest.approx(0.5)
    assert fitted_by([arm(0.6, 0.6), arm(float("inf"), float("inf"))], control, way) == 0.0  # the first memorizes


def test_data_that_training_refuses_are_the_cause() -> None:
    x, y = blobs()
    spoiled = x.clone()
    spoiled[7, 2] = torch.nan
    finding = thalweg.diagnose(recipe(parted(spoiled, y), epochs=1))
    assert finding.cause is Cause.DATA
    assert "not finite (NaN): row 7" in finding.mechanism
    assert "inputs not finite" in mechanisms(finding)
