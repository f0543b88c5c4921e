"""What shapes a step: clipped gradients, several batches in one, averaged weights, precision; against loops by hand."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg import Losses, Recipe, RecipeError, Splits
from thalweg.core.randomness import generator
from thalweg.optim import EMA, SWA, Checkpoints

N, EPOCHS = 50, 3


def examples() -> tuple[Tensor, Tensor]:
    x = torch.randn(N, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x, x[:, :1] * 2 + 3 * x[:, 1:2].square()


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()


def recipe(**changes: Any) -> Recipe:
    made = Recipe(
        data=Splits(train=examples()),
        model=net,
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        batch_size=8,
        epochs=EPOCHS,
    )
    return made.but(**changes)


def by_hand(size: int, most: float | None = None) -> list[list[Tensor]]:
    """The weights after each step of plain SGD with momentum, written out."""
    x, y = examples()
    start = thalweg.train(recipe(epochs=0)).last
    weights = [weight.detach().clone().requires_grad_() for weight in start.parameters()]
    moments = [torch.zeros_like(weight) for weight in weights]
    seen = []
    for epoch in range(1, EPOCHS + 1):
        order = torch.randperm(N, generator=generator(0, "order", epoch))
        for ids in order.split(size):
            hidden = torch.tanh(x[ids] @ weights[0].T + weights[1])
            loss = (hidden @ weights[2].T + weights[3] - y[ids]).square().mean()
            gradients = torch.autograd.grad(loss, weights)
            norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
            factor = 1.0 if most is None else min(1.0, most / float(norm + 1e-6))
            with torch.no_grad():
                for weight, moment, gradient in zip(weights, moments, gradients, strict=True):
                    moment.mul_(0.9).add_(factor * gradient)
                    weight.sub_(0.05 * moment)
            seen.append([weight.detach().clone() for weight in weights])
    return seen


def close(model: nn.Module, weights: list[Tensor], tolerance: float = 1e-12) -> bool:
    pairs = zip(model.parameters(), weights, strict=True)
    return all(torch.allclose(one, other, rtol=0, atol=tolerance) for one, other in pairs)


def test_a_long_gradient_is_shortened() -> None:
    run = thalweg.train(recipe(clip_norm=0.5))
    assert close(run.last, by_hand(8, 0.5)[-1])
    assert not close(run.last, by_hand(8)[-1], 1e-3)
    assert run.history[0]["gradient_norm"] > 0.5  # as it was before
    assert close(thalweg.train(recipe(clip_norm=1e9)).last, by_hand(8)[-1])


def test_clipping_that_acts_in_most_steps_is_said() -> None:
    (run,) = thalweg.train_many([recipe(clip_norm=1e-3)])
    for said in (*thalweg.train(recipe(clip_norm=1e-3)).notices, *run.notices):
        assert said.startswith("The gradient was clipped to norm 0.001 in 100% of the steps, so that it hides more")
    assert len(run.notices) == 1
    assert not thalweg.train(recipe(clip_norm=1e3)).notices


def test_several_batches_make_one_step_of_all_their_examples() -> None:
    """50 examples in batches of 8, three to a step: 24, 24, and 2 alone; as batches of 24 make 24, 24 and 2."""
    run = thalweg.train(recipe(accumulate=3))
    assert close(run.last, by_hand(24)[-1])
    assert not close(run.last, by_hand(8)[-1], 1e-3)
    assert [row["train_loss"] for row in run.history] == pytest.approx(
        [row["train_loss"] for row in thalweg.train(recipe(batch_size=24)).history], abs=1e-12
    )


def test_a_window_counts_tokens_where_the_objective_weighs_by_them() -> None:
    @thalweg.objective
    def by_tokens(model: nn.Module, batch: Any) -> Losses:
        x, y = batch
        return Losses((model(x) - y).square().flatten(), weight=1 + (x[:, 0] > 0).double() * 9)

    whole, parts = (
        thalweg.train(recipe(objective=by_tokens, **how)) for how in ({"batch_size": 32}, {"accumulate": 4})
    )
    assert close(parts.last, list(whole.last.parameters()))


def test_a_schedule_and_an_objective_count_steps_not_batches() -> None:
    seen: list[tuple[int, int | None]] = []
    draws: list[float] = []

    def schedule(step: int, steps: int | None) -> float:
        seen.append((step, steps))
        return 1.0

    @thalweg.objective
    def drawing(model: nn.Module, batch: Any, moment: thalweg.Moment) -> Tensor:
        if moment.training:
            draws.append(float(torch.rand((), generator=moment.generator)))
        return (model(batch[0]) - batch[1]).square().flatten()

    thalweg.train(recipe(objective=drawing, schedule=schedule, accumulate=3, epochs=2))
    assert seen == [(step, 6) for step in range(6)]
    trained = draws[-14:]
    assert len(set(trained)) == 14  # the batches of a step do not draw the same


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_an_exponential_average_is_judged_and_kept(decay: float) -> None:
    steps = by_hand(8)
    average = [weight.clone() for weight in steps[0]]
    for taken, weights in enumerate(steps[1:], 1):
        share = 1 - min(decay, (1 + taken) / (10 + taken))
        average = [own + share * (new - own) for own, new in zip(average, weights, strict=True)]
    chosen = recipe(average=EMA(decay), data=Splits(train=examples(), validation=examples()))
    run = thalweg.train(chosen)
    assert close(run.last, average)
    x, y = examples()
    with torch.no_grad():
        assert run.history[-1]["validation_loss"] == pytest.approx(float(nn.MSELoss()(run.last(x), y)))


def test_the_mean_over_the_last_part_is_kept() -> None:
    steps = by_hand(8)
    late = [weights for step, weights in enumerate(steps) if step >= 0.75 * len(steps)]
    mean = [torch.stack(column).mean(0) for column in zip(*late, strict=True)]
    assert close(thalweg.train(recipe(average=SWA())).last, mean)


@pytest.mark.parametrize("every", [2, 0.3])
def test_the_mean_of_the_last_checkpoints_is_kept(every: int | float) -> None:
    steps = by_hand(8)
    apart = every if isinstance(every, int) else round(every * len(steps))
    kept = [steps[-1 - back * apart] for back in range(3)]
    mean = [torch.stack(column).mean(0) for column in zip(*kept, strict=True)]
    assert close(thalweg.train(recipe(average=Checkpoints(3, every))).last, mean)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Checkpoints(0), r"Checkpoints\(count=0\), but it is how many are averaged"),
        (lambda: Checkpoints(every=1.5), r"Checkpoints\(every=1.5\), but it is a whole number of steps"),
        (lambda: Checkpoints(every=True), r"every=True"),
        (lambda: Checkpoints(5, every=2).due(0, 8), "reach back 8 steps, but the run has 8. Take fewer"),
        (lambda: Checkpoints().due(0, None), "a stream does not say how many steps there are. Take EMA"),
    ],
)
def test_checkpoints_that_cannot_be(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make()


def test_an_average_reads_running_statistics_too() -> None:
    def normed() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).double()

    run, plain = (thalweg.train(recipe(model=normed, average=average)) for average in (EMA(0.9), None))
    one, other = (each.last.get_submodule("1") for each in (run, plain))
    assert not torch.equal(one.running_mean, other.running_mean)  # type: ignore[arg-type]
    assert torch.equal(one.num_batches_tracked, other.num_batches_tracked)  # type: ignore[arg-type]


def test_half_the_precision_leaves_weights_and_judging_whole() -> None:
    x, y = (part.float() for part in examples())
    kinds: set[torch.dtype] = set()

    class Seen(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            output = super().forward(x)
            if self.training:
                kinds.add(output.dtype)
            return output

    chosen = recipe(data=Splits(train=(x, y), validation=(x, y)), model=lambda: Seen(4, 1), precision="bfloat16")
    run = thalweg.train(chosen)
    assert kinds == {torch.bfloat16}
    assert {weight.dtype for weight in run.last.parameters()} == {torch.float32}
    with torch.no_grad():
        assert run.history[-1]["validation_loss"] == pytest.approx(float(nn.MSELoss()(run.last(x), y)), rel=1e-6)
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clip_norm": 0}, "clip_norm=0, but the largest norm of a gradient is a number above 0, or None."),
        ({"clip_norm": "1"}, "clip_norm='1', but the largest norm"),
        ({"accumulate": 0}, "accumulate=0, but it is a whole number of batches, at least 1."),
        ({"precision": "float16"}, "precision='float16', but it is one of float32, bfloat16, auto."),
        ({"average": EMA}, "average is the class EMA, not an average. Make one: EMA"),
        ({"average": 0.9}, "average=0.9 cannot be called. Give a factory of an average"),
        (
            {"loop": lambda model, optimizer, batches, objective: None, "clip_norm": 1.0, "accumulate": 2},
            "clip_norm, accumulate cannot reach into your own loop, which takes its steps itself: do it there.",
        ),
    ],
)
def test_what_cannot_shape_a_step_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe(**changes)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("average", "says"),
    [
        (lambda model: model, "which has no module, update. Give one such as thalweg.optim.EMA(0.999)."),
        (lambda model: 1 / 0, "failed: division by zero. It is called with the model, which it copies"),
    ],
)
def test_what_is_no_average_is_refused(average: Any, says: str) -> None:
    with pytest.raises(RecipeError) as error:
        thalweg.train(recipe(average=average))
    assert says in str(error.value)


def test_a_mean_over_the_last_part_of_a_stream_is_refused() -> None:
    class Rows(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(zip(*examples(), strict=True))

    with pytest.raises(RecipeError, match="SWA\\(start=0.75\\) begins after a share of the steps, but a stream"):
        thalweg.train(recipe(data=Splits(train=Rows()), average=SWA()))
    assert thalweg.train(recipe(data=Splits(train=Rows()), average=SWA(0.0))).history


def test_a_recipe_in_toml_says_them_too() -> None:
    said = ["clip_norm=1.0", "accumulate=2", "precision=bfloat16", "average=ema", "average.decay=0.9", "epochs=1"]
    chosen = thalweg.load("iris", assignments=said)
    assert (chosen.clip_norm, chosen.accumulate, chosen.precision, chosen.average) == (1.0, 2, "bfloat16", EMA(0.9))
    assert thalweg.train(chosen).history
