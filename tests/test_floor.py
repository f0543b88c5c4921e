"""The floor: what reference learners reach, in whatever form a loss reads their outputs."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg import Recipe, Splits
from thalweg.core.arrays import ArraySource
from thalweg.diagnosis.floor import CONSTANT, Floor, Known, _readings, reference_floor
from thalweg.diagnosis.tabled import read_table
from thalweg.loss import Gaussian
from thalweg.training.judging import Judge

RANDOM = np.random.default_rng(0)
X = torch.from_numpy(RANDOM.normal(size=(240, 3))).float()
NOISE = torch.from_numpy(RANDOM.normal(size=240)).float()


def floor(x: Tensor, y: Tensor, loss: Any) -> Floor | None:
    recipe = Recipe(data=Splits(train=(x, y)), model=nn.Flatten, objective=loss)
    return reference_floor(Judge.of(recipe), [ArraySource((x, y), 32)])


def test_targets_and_inputs_without_a_second_axis_are_read() -> None:
    y = X[:, 0] + 0.1 * NOISE
    column = floor(X, y[:, None], nn.MSELoss())
    flat = floor(X, y, nn.MSELoss())
    assert column is not None
    assert flat is not None
    assert flat.high == pytest.approx(column.high, rel=1e-5)
    single = floor(X[:, 0].clone(), y, nn.MSELoss())
    assert single is not None
    assert single.high < 0.05 * single.null
    run = thalweg.diagnose(
        Recipe(
            data=Splits(train=(X[:, 0].clone(), y)),
            model=lambda: nn.Sequential(nn.Unflatten(0, (-1, 1)), nn.Linear(1, 1), nn.Flatten(0)),
            objective=nn.MSELoss(),
            optimizer=partial(torch.optim.Adam, lr=0.05),
            epochs=20,
        ),
        budget=2,
    )
    assert run.losses["floor"].high < 0.1


@pytest.mark.parametrize(
    ("loss", "constant"),
    [
        (nn.BCEWithLogitsLoss(), "entropy"),  # reads logits
        (nn.BCELoss(), "entropy"),  # reads probabilities
        (nn.MSELoss(), "variance"),  # reads numbers
        (nn.L1Loss(), "spread"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_yes_or_no_is_read_in_the_form_of_the_loss(loss: nn.Module, constant: str) -> None:
    y = (X[:, 0] + 0.3 * NOISE > 0).float()[:, None]
    share = float(y.mean())
    best = {
        "entropy": -share * math.log(share) - (1 - share) * math.log(1 - share),
        "variance": share * (1 - share),
        "spread": 2 * share * (1 - share),
    }[constant]
    found = floor(X, y, loss)
    assert found is not None
    assert found.null == pytest.approx(best, rel=0.03)
    assert found.high < 0.6 * best
    assert found.by != CONSTANT


@pytest.mark.parametrize("share", [0.64, 0.66, 0.68])
def test_a_share_that_is_about_its_own_logit_is_not_mistaken_for_it(share: float) -> None:
    """logit(0.66) = 0.66: the best constant cannot tell logits from probabilities, and the learners can."""
    signal = X[:, 0] + 0.3 * NOISE
    y = (signal > signal.quantile(1 - share)).float()[:, None]
    logits, shares = floor(X, y, nn.BCEWithLogitsLoss()), floor(X, y, nn.BCELoss())
    assert logits is not None
    assert shares is not None
    assert logits.high == pytest.approx(shares.high, rel=1e-3)
    assert logits.by == shares.by


def test_counts_are_read_as_logarithms_where_the_loss_does() -> None:
    rate = (1 + X[:, :1]).exp()
    y = torch.poisson(rate, generator=torch.Generator().manual_seed(0))
    found = floor(X, y, nn.PoissonNLLLoss())
    assert found is not None
    mean = float(y.mean())
    assert found.null == pytest.approx(mean - mean * math.log(mean), rel=0.1)
    assert found.high < found.null - 1
    assert found.low == -math.inf
    seldom = floor(X, (y > 6).float(), nn.PoissonNLLLoss())  # counts of 0 and 1 alone
    assert seldom is not None
    mean = float((y > 6).float().mean())
    assert seldom.null == pytest.approx(mean - mean * math.log(mean), rel=0.1)


def test_yes_or_no_has_a_floor_as_a_density_too() -> None:
    y = (X[:, :1] > 0).float()
    found = floor(X, y, Gaussian(variance="learned"))
    assert found is not None
    assert found.high < found.null
    assert found.low == -math.inf


@pytest.mark.parametrize("examples", [8, 9, 12, 17])
def test_a_handful_of_examples_is_no_error(examples: int) -> None:
    for y, loss in ((X[:, 0].clone(), nn.MSELoss()), ((X[:, 0] > 0).long(), nn.CrossEntropyLoss())):
        found = floor(X[:examples], y[:examples], loss)
        assert found is None or found.high >= 0
    assert floor(X[:7], X[:7, 0], nn.MSELoss()) is None


def test_labels_that_are_left_out_of_the_loss_are_left_out_of_the_floor() -> None:
    y = (X[:, 0] > 0).long()
    whole = floor(X[::2], y[::2], nn.CrossEntropyLoss())
    some = y.clone()
    some[1::2] = -100
    found = floor(X, some, nn.CrossEntropyLoss(ignore_index=-100))
    assert whole is not None
    assert found is not None
    assert found.high == pytest.approx(whole.high, rel=1e-6)
    assert [known.places.tolist() for known in found.values if known is not None] == [list(range(0, 240, 2))]


def test_a_label_that_the_loss_ignores_is_no_class() -> None:
    y = (X[:, 0] + NOISE > 0).long()
    y[1::2] = 255
    found, whole = floor(X, y, nn.CrossEntropyLoss(ignore_index=255)), floor(X[::2], y[::2], nn.CrossEntropyLoss())
    assert found is not None
    assert whole is not None
    assert found.high == pytest.approx(whole.high, rel=1e-6)
    assert [known.places.tolist() for known in found.values if known is not None] == [list(range(0, 240, 2))]


def test_classes_stay_classes_when_few_of_their_examples_are_read() -> None:
    """120 classes among 1,300 examples, of which 260 have a label: too few to look like classes by themselves."""
    y = torch.arange(1300) // 5 % 120
    y[torch.arange(1300) % 5 > 0] = -100
    x = nn.functional.one_hot(y.clamp(min=0)).float()[:, :3].contiguous()
    judge = Judge.of(Recipe(data=Splits(train=(x, y)), model=nn.Flatten, objective=nn.CrossEntropyLoss()))
    table = read_table(judge, [ArraySource((x, y), 32)])
    assert table is not None
    assert len(table[0].rows) == 260
    assert _readings(table[1], table[0])[0].perfect.shape == (260, 120)


def test_of_many_examples_every_nth_is_kept_as_it_is_read() -> None:
    """Whatever the batches: those of the second source go on where the first one's have stopped."""
    x, y = torch.arange(9001.0)[:, None].repeat(1, 3), torch.arange(9001) % 3
    y[::7] = -100
    judge = Judge.of(Recipe(data=Splits(train=(x, y)), model=nn.Flatten, objective=nn.CrossEntropyLoss()))
    table = read_table(judge, [ArraySource((x[:5003], y[:5003]), 32), ArraySource((x[5003:], y[5003:]), 7)])
    assert table is not None
    kept = [number for number in range(0, 9001, 3) if number % 7]
    assert table[0].rows[:, 0].tolist() == kept
    assert torch.equal(table[1], y[kept])
    assert [places.tolist() for places in table[2]] == [
        [number for number in kept if number < 5003], [number - 5003 for number in kept if number >= 5003]
    ]  # fmt: skip


def test_inputs_that_ask_for_gradients_are_read() -> None:
    assert floor(X.clone().requires_grad_(), X[:, :1], nn.MSELoss()) is not None


def test_what_is_not_finite_or_of_no_one_shape_has_no_floor() -> None:
    y = X[:, 0].clone()
    y[3] = math.nan
    assert floor(X, y, nn.MSELoss()) is None
    x = X.clone()
    x[5, 1] = math.inf
    assert floor(x, X[:, 0], nn.MSELoss()) is None
    assert floor(X, torch.complex(X[:, 0], X[:, 1]), nn.MSELoss()) is None
    recipe = Recipe(data=Splits(train=(X, X[:, 0])), model=nn.Flatten, objective=nn.MSELoss())
    sources = [ArraySource((X, X[:, :1]), 32), ArraySource((X, X[:, :2]), 32)]
    assert reference_floor(Judge.of(recipe), list(sources)) is None


def test_no_least_loss_is_claimed_of_a_density() -> None:
    """With learned variances this likelihood has none, though every value that was seen is positive."""
    y = 50 * (X[:, :1] + NOISE[:, None])
    found = floor(X, y, Gaussian(variance="learned"))
    assert found is not None
    assert found.high > 0
    assert found.low == -math.inf
    squared = floor(X, y, nn.MSELoss())
    assert squared is not None
    assert 0 < squared.low < float((50 * NOISE).square().mean())  # the noise that no model can foresee


class Shifted(nn.Module):
    """A cross-entropy that is negative where a network is sure, which these labels allow no learner to be."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        values = nn.functional.cross_entropy(output, target, reduction="none") - 0.005
        return values.mean() if self.reduction == "mean" else values


def test_no_least_loss_is_claimed_where_no_learner_shows_it() -> None:
    y = (X[:, 0] + NOISE > 0).long()
    found = floor(X, y, Shifted())
    assert found is not None
    assert found.low == -math.inf


def test_what_a_perfect_prediction_leaves_is_the_lower_end() -> None:
    y = X[:, :1] + NOISE[:, None]
    found = floor(X, y, Gaussian())
    assert found is not None
    assert 0.5 * math.log(2 * math.pi) <= found.low <= found.high  # no output makes this likelihood larger
    labels = floor(X, (X[:, 0] > 0).long(), nn.CrossEntropyLoss())
    assert labels is not None
    assert labels.low == 0


def test_a_lower_end_that_the_network_itself_breaks_is_not_claimed() -> None:
    x = torch.eye(4).repeat(100, 1)
    splits = Splits(train=(x[:200], x[:200].argmax(1)), validation=(x[200:], x[200:].argmax(1)))
    found = thalweg.diagnose(
        Recipe(
            data=splits,
            model=lambda: nn.Linear(4, 4),
            objective=nn.CrossEntropyLoss(),
            optimizer=partial(torch.optim.Adam, lr=1.0),
            epochs=20,
        ),
        budget=1,
    )
    assert found.losses["validation"].value < found.losses["floor"].value
    assert found.losses["floor"].low <= found.losses["validation"].value


def losses(*parts: tuple[float, int]) -> tuple[Known, ...]:
    """A reference's losses on each source, of a mean and a count, half of them nothing."""
    return tuple(Known(np.arange(count), np.where(np.arange(count) % 2, 2 * mean, 0.0)) for mean, count in parts)


def test_a_loss_on_one_source_is_not_above_a_floor_that_is_one_for_both() -> None:
    alike = Floor(0.0, 0.10, "boosted trees", losses((0.09, 50), (0.12, 20)), (0.1, 0.08, 0.12), null=1.0)
    assert not alike.lies_below(0.105)
    assert alike.lies_below(0.13)
    apart = replace(alike, values=losses((0.01, 500), (0.2, 500)))
    assert apart.lies_below(0.105)  # train is easier than what else is judged: its own floor counts


def test_what_is_next_to_nothing_of_the_way_is_not_material() -> None:
    floor = Floor(0.0, 0.00148, "nearest neighbours", (None, None), (0.0015, 0.0005, 0.003), null=0.79)
    assert floor.material(0.0016) > 0.0007


def stripes(examples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of noise with a short bar somewhere, which lies or stands: no pixel says which."""
    draw = np.random.default_rng(seed)
    x = torch.from_numpy(draw.normal(size=(examples, 1, 24, 24)) * 0.5).float()
    y = torch.from_numpy(draw.integers(0, 2, examples))
    for image, stands, down, right in zip(x, y, *draw.integers(1, 18, (2, examples)), strict=True):
        rows, columns = (5, 1) if stands else (1, 5)
        image[0, down : down + rows, right : right + columns] += 2.0
    return x, y


def test_images_are_read_by_their_patches() -> None:
    x, y = stripes(400, 0)
    as_images, as_rows = floor(x, y, nn.CrossEntropyLoss()), floor(x.flatten(1), y, nn.CrossEntropyLoss())
    assert as_images is not None
    assert as_rows is not None
    assert as_images.by == "patches and logistic regression"
    assert as_images.high < 0.5 * as_rows.high


def test_numbers_are_read_from_images_too() -> None:
    x, y = stripes(300, 1)
    reached = floor(x, y[:, None].float() * 3 - 1.5, nn.MSELoss())
    assert reached is not None
    assert reached.by == "patches and ridge regression"
    assert reached.high < 0.7 * reached.null


def test_wide_inputs_are_compared_with_a_kernel_machine() -> None:
    draw = np.random.default_rng(0)
    hidden = torch.from_numpy(draw.normal(size=(400, 2))).float()
    x = hidden @ torch.from_numpy(draw.normal(size=(2, 200))).float()
    y = (hidden.square().sum(1) > 1.4).long()  # no plane through the middle says it
    reached = floor(x, y, nn.CrossEntropyLoss())
    assert reached is not None
    assert reached.by == "kernel logistic regression"
    assert reached.high < 0.3


def test_large_images_are_compared_in_the_size_that_learners_can_use() -> None:
    small, y = stripes(120, 2)
    large = small.repeat_interleave(4, 2).repeat_interleave(4, 3)  # 96 pixels a side
    judge = Judge.of(Recipe(data=Splits(train=(large, y)), model=nn.Flatten, objective=nn.CrossEntropyLoss()))
    table = read_table(judge, [ArraySource((large, y), 32)])
    assert table is not None
    assert table[0].shape == (1, 32, 32)
    assert table[0].rows.shape == (120, 1024)


def test_a_tenth_of_a_loss_that_is_next_to_nothing_is_material_beside_references_and_not_beside_siblings() -> None:
    floor = Floor(0.0, 0.001, "boosted trees", (None, None), (0.001, 0.0, 0.002), null=1.6)
    assert floor.material(0.02) == pytest.approx(0.002)
    assert replace(floor, siblings=True).material(0.02) == pytest.approx(0.05 * 1.599)
