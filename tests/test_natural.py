"""Natural errors against their definition, and the parts of a diagnosis that rest on them."""

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from torch import Tensor, nn

from thalweg.core.arrays import ArraySource
from thalweg.core.source import Splits
from thalweg.diagnosis.checks.another_kind import other_kind_of_classes, other_kind_of_numbers
from thalweg.diagnosis.checks.data_rows import read_rows
from thalweg.diagnosis.checks.opinions import opinions
from thalweg.diagnosis.natural import natural_errors
from thalweg.diagnosis.ranking import either
from thalweg.diagnosis.repairs import Standardized, evened, repaired
from thalweg.training import Recipe

DRAWN = torch.Generator().manual_seed(0)
LOGITS = torch.randn(50, 3, generator=DRAWN)
CLASSES = torch.randint(0, 3, (50,), generator=DRAWN)
NUMBERS = torch.randn(50, 2, generator=DRAWN)


def mean(output: Tensor, y: Tensor) -> float:
    errors = natural_errors(output, y)
    assert errors is not None
    assert errors.shape == (len(y),)
    return float(errors.mean())


def test_of_classes_it_is_the_error_rate_whatever_stands_behind_the_scores() -> None:
    wrong = float((LOGITS.argmax(1) != CLASSES).float().mean())
    assert mean(LOGITS, CLASSES) == pytest.approx(wrong)
    assert mean(LOGITS.softmax(1).softmax(1), CLASSES) == pytest.approx(wrong)


def test_of_numbers_it_is_one_minus_r2_whatever_the_shape() -> None:
    said = NUMBERS + 0.3 * torch.randn(50, 2, generator=DRAWN)
    assert mean(said, NUMBERS) == pytest.approx(1 - r2_score(NUMBERS, said), rel=1e-4)
    assert mean(said[:, :1], NUMBERS[:, 0]) == pytest.approx(1 - r2_score(NUMBERS[:, 0], said[:, 0]), rel=1e-4)
    assert mean(torch.cat([said, said], 1), NUMBERS) == pytest.approx(mean(said, NUMBERS))


@pytest.mark.parametrize("form", [lambda z: z, torch.sigmoid, lambda z: z.reshape(-1)])
def test_of_answers_logits_and_probabilities_are_the_same(form: object) -> None:
    z, y = LOGITS[:, :1], (CLASSES > 0).float()
    wrong = float(((z[:, 0] > 0).float() != y).float().mean())
    assert mean(form(z), y) <= wrong + 1e-6  # type: ignore[operator]
    assert mean(form(z), y.long()) == mean(form(z), y)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("output", "y"),
    [
        (LOGITS, CLASSES + 1),
        (LOGITS, NUMBERS),
        (LOGITS * torch.nan, CLASSES),
        ("text", CLASSES),
        (LOGITS.to(torch.complex64), CLASSES),
        (LOGITS[:0], CLASSES[:0]),
    ],
)
def test_what_cannot_be_read_has_none(output: object, y: object) -> None:
    assert natural_errors(output, y) is None


def test_of_sequences_it_is_the_share_of_places_that_are_wrong() -> None:
    y = torch.randint(0, 3, (6, 5), generator=DRAWN)
    scores = torch.randn(6, 5, 3, generator=DRAWN)
    wrong = (scores.argmax(2) != y).double().mean(1)
    for output in (scores, scores.mT):
        errors = natural_errors(output, y)
        assert errors is not None
        assert np.allclose(errors, wrong)
    y[0, 1:] = -100  # padding
    assert natural_errors(scores, y)[0] == float(scores[0, 0].argmax() != y[0, 0])  # type: ignore[index]


def test_what_is_not_known_is_no_answer() -> None:
    assert [either(None, None), either(None, True), either(False, None), either(False, True)] == [
        None,
        True,
        False,
        True,
    ]


# --- a split of another kind ---


def of_classes(n: int, seed: int, turned: bool = False) -> ArraySource:
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, n)
    x = np.eye(3, 5)[y] * 3 + random.normal(0, 1, (n, 5))
    return ArraySource((torch.tensor(-x if turned else x, dtype=torch.float32), torch.tensor(y)), None)


@pytest.mark.parametrize("turned", [True, False])
def test_classes_of_another_kind(turned: bool) -> None:
    known = opinions(read_rows(of_classes(300, 0), "train"))
    assert known is not None
    found = other_kind_of_classes(known, read_rows(of_classes(200, 1, turned), "validation"))
    assert [flaw.mechanism for flaw in found] == ["validation of another kind than train"] * turned


def of_numbers(n: int, seed: int, factor: float = 1.0) -> ArraySource:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    y = x[:, :1] * 2 + x[:, 1:2]
    return ArraySource((x * factor, y), None)


@pytest.mark.parametrize("factor", [-1.0, 1.0])
def test_numbers_of_another_kind(factor: float) -> None:
    found = other_kind_of_numbers(
        read_rows(of_numbers(300, 0), "train"), read_rows(of_numbers(200, 1, factor), "validation")
    )
    assert [flaw.number > 1.5 for flaw in found] == [True] * (factor < 0)


# --- repairs ---


def test_a_standardized_network_computes_in_units_of_the_data() -> None:
    net = nn.Linear(2, 1)
    inputs, targets = (
        (torch.tensor([[10.0, 0.0]]), torch.tensor([[2.0, 1.0]])),
        (torch.tensor([[5.0]]), torch.tensor([[3.0]])),
    )
    model = Standardized(lambda: net, inputs, targets)()
    x = torch.tensor([[12.0, 1.0], [8.0, -1.0]])
    assert torch.allclose(model(x), 5 + 3 * net(torch.tensor([[1.0, 1.0], [-1.0, -1.0]])))


@pytest.mark.parametrize(("scales", "unlike"), [((1.0, 1.0), False), ((1.0, 5.0), False), ((1.0, 40.0), True)])
def test_unlike_columns_are_worth_an_arm(scales: tuple[float, float], unlike: bool) -> None:
    x = torch.randn(100, 2, generator=DRAWN) * torch.tensor(scales)
    source = ArraySource((x, x[:, :1]), 10)
    made = Recipe(data=Splits(train=source), model=lambda: nn.Linear(2, 1), objective=nn.MSELoss())
    even = evened(made, source)
    assert (even is not None) is unlike
    if even is not None:
        assert evened(even, source) is None
        assert "inputs standardized" in repr(even.model)
    assert list(repaired(made, source, ())) == []
