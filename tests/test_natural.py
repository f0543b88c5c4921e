"""Natural errors against their definition, and the parts of a diagnosis that rest on them."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from torch import Tensor, nn

import thalweg
from thalweg.core.arrays import ArraySource
from thalweg.core.source import Splits
from thalweg.diagnosis.checks.another_kind import other_kind_of_classes, other_kind_of_numbers
from thalweg.diagnosis.checks.data_rows import read_rows
from thalweg.diagnosis.checks.opinions import opinions
from thalweg.diagnosis.natural import Scale, errors_of, natural_errors, recalibrated_errors
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


def test_splits_of_another_range_are_compared_by_one_scale() -> None:
    """The same errors, of targets of a tenth of the range: by its own variance the narrow one is 100 times worse."""
    y, wrong = NUMBERS[:, :1], 0.1 * torch.randn(50, 1, generator=DRAWN)
    scale = Scale.of(y)
    wide, narrow = (natural_errors(own + wrong, own, scale) for own in (y, 0.1 * y))
    assert wide is not None
    assert narrow is not None
    assert np.allclose(wide, narrow, atol=1e-5)
    assert mean(0.1 * y + wrong, 0.1 * y) == pytest.approx(100 * float(wide.mean()), rel=1e-3)


def test_a_target_that_does_not_vary_says_nothing() -> None:
    said = NUMBERS + 0.1
    constant = torch.full((50, 1), 1e3)
    both = mean(torch.cat([said, constant + 0.01], 1), torch.cat([NUMBERS, constant], 1))
    assert both == pytest.approx(mean(said, NUMBERS), rel=1e-4)
    assert natural_errors(constant + 0.01, constant) is None


def test_answers_stay_answers_where_a_split_holds_one_of_them() -> None:
    scale = Scale.of(torch.tensor([0.0, 1.0]))
    errors = natural_errors(torch.tensor([-3.0, -1.0, 2.0]), torch.zeros(3), scale)
    assert errors is not None
    assert errors.tolist() == [0.0, 0.0, 1.0]


def test_padding_is_what_the_loss_ignores() -> None:
    """Class 0 pads, and the network says anything there: none of it is an error."""
    x = torch.randint(1, 4, (12, 5), generator=DRAWN)
    x[:, 3:] = 0
    recipe = Recipe(
        data=Splits(train=(x, x)), objective=nn.CrossEntropyLoss(ignore_index=0), epochs=1, model=lambda: Echo()
    )
    run = thalweg.train(recipe)
    errors = errors_of(run, ArraySource((x, x), 4), torch.device("cpu"))
    assert errors is not None
    assert errors.tolist() == [0.0] * 12


class Echo(nn.Module):
    """Says of each place the class that it reads, and 2 of padding."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * nn.functional.one_hot(torch.where(x == 0, 2, x), 4).transpose(1, 2).float()


def test_a_model_that_its_objective_asks_in_another_way_has_none() -> None:
    class Forced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.layer(torch.cat([x, y], 1))

    @thalweg.objective
    def loss(model: nn.Module, batch: Any) -> Tensor:
        return (model(*batch) - batch[1]).square().mean(1)

    pair = NUMBERS, NUMBERS
    run = thalweg.train(Recipe(data=Splits(train=pair), objective=loss, epochs=1, model=Forced))
    assert errors_of(run, ArraySource(pair, 10), torch.device("cpu")) is None


def test_a_split_is_asked_once_for_each_run() -> None:
    asked: list[int] = []

    class Counting(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            asked.append(len(input))
            return super().forward(input)

    recipe = Recipe(
        data=Splits(train=(NUMBERS, NUMBERS)), objective=nn.MSELoss(), epochs=1, model=lambda: Counting(2, 2)
    )
    first, second = thalweg.train(recipe), thalweg.train(recipe.but(seed=1))
    source, device = ArraySource((NUMBERS, NUMBERS), 10), torch.device("cpu")
    asked.clear()
    told = [errors_of(first, source, device) for _ in range(2)]
    recalibrated_errors(first, source, device)
    once = len(asked)
    assert once == source.count_batches()
    one, again = told
    assert one is not None
    assert again is not None
    assert np.array_equal(one, again)
    other = errors_of(second, source, device)
    assert len(asked) == 2 * once
    assert other is not None
    assert not np.array_equal(one, other)
    errors_of(first, source.take(range(5)), device)
    assert sum(asked) == 2 * len(source) + 5


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
