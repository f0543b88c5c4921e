"""Inputs that tell the target in train and validation and of which nothing is left on test."""

from functools import partial

import torch
from rows import rows_of
from torch import Tensor, nn

import thalweg
from thalweg import Cause, Recipe, Splits
from thalweg.diagnosis.checks.label_leak import gone_at_test
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.remedy.grouping import group_standardized

Pair = tuple[Tensor, Tensor]


def blobs(n: int, seed: int) -> Pair:
    centres = 1.6 * torch.randn(4, 5, generator=torch.Generator().manual_seed(99))
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 4, (n,), generator=draw)
    return centres[y] + torch.randn(n, 5, generator=draw), y


def told(x: Tensor, y: Tensor) -> Pair:
    """The label beside the inputs, as four columns of 0 and 5."""
    return torch.cat([x, 5.0 * nn.functional.one_hot(y, 4)], 1), y


def silent(x: Tensor, y: Tensor) -> Pair:
    return torch.cat([x, torch.zeros(len(x), 4)], 1), y


TRAIN, VALIDATION, TEST = blobs(400, 1), blobs(200, 2), blobs(200, 3)


def test_columns_that_together_are_the_label_and_empty_on_test_are_named() -> None:
    rows, held = rows_of(*told(*TRAIN)), rows_of(*told(*VALIDATION), "validation")
    (flaw,) = gone_at_test(rows, held, rows_of(*silent(*TEST), "test"))
    assert flaw.columns == (5, 6, 7, 8)
    assert flaw.mechanism is Mechanism.INPUTS_THAT_TELL_THE_TARGET_BUT_NOT_ON_TEST
    assert "Inputs number 5, number 6, number 7, number 8 together take 100.0%" in flaw.says
    assert gone_at_test(rows, held, rows_of(*told(*TEST), "test")) == []
    plain = rows_of(*TRAIN), rows_of(*VALIDATION, "validation"), rows_of(*TEST, "test")
    assert gone_at_test(*plain) == []


def test_columns_in_another_unit_on_test_are_not_gone() -> None:
    rows, held = rows_of(*told(*TRAIN)), rows_of(*told(*VALIDATION), "validation")
    x, y = told(*TEST)
    x[:, 5:] = 70 - 9 * x[:, 5:]  # learners fitted to train fail there, those fitted to test do not
    assert gone_at_test(rows, held, rows_of(x, y, "test")) == []


def test_the_diagnosis_says_which_inputs_to_leave_out_and_the_remedy_does() -> None:
    recipe = Recipe(
        data=Splits(train=told(*TRAIN), validation=told(*VALIDATION), test=silent(*TEST)),
        model=lambda: nn.Sequential(nn.Linear(9, 16), nn.ReLU(), nn.Linear(16, 4)),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        epochs=8,
    )
    finding = thalweg.diagnose(recipe, budget=2)
    assert finding.cause is Cause.MISMATCH
    assert "together take" in finding.mechanism
    first = finding.remedies[0]
    assert first.name == "blind to the inputs that tell the target, but not on test"
    assert not any("within each group" in remedy.name for remedy in finding.remedies)
    assert group_standardized(recipe) is recipe  # a column that is the label names no group
    model = first(recipe).model()
    x, _ = told(*VALIDATION)
    other = x.clone()
    other[:, 5:] = 3.0
    assert torch.equal(model(x), model(other))


def test_marks_of_one_category_are_no_groups() -> None:
    x, y = TRAIN
    third = torch.arange(len(x)) % 3
    recipe = Recipe(
        data=Splits(train=(torch.cat([x, nn.functional.one_hot(third, 3).float()], 1), y)),
        model=lambda: nn.Linear(8, 4),
        objective=nn.CrossEntropyLoss(),
    )
    assert group_standardized(recipe) is recipe
