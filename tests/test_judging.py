"""Judging and loaders where they are easily wrong: the same number by every way, no leak, no trace."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset, WeightedRandomSampler

import thalweg
from thalweg import Losses, Moment, Outcome, Recipe, RecipeError, Splits
from thalweg.optim import Cosine
from thalweg.training.interval import mean_interval

N = 61
X = torch.randn(N, 5, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)
ROWS = TensorDataset(X, Y)
ADAM = partial(torch.optim.Adam, lr=0.05)


def recipe(**changes: Any) -> Recipe:
    pieces: dict[str, Any] = {
        "data": Splits(train=(X[:40], Y[:40]), validation=(X[40:], Y[40:])),
        "model": partial(nn.Linear, 5, 3),
        "objective": nn.CrossEntropyLoss(),
        "optimizer": ADAM,
        "batch_size": 7,
        "epochs": 3,
    }
    return Recipe(**(pieces | changes))


# --- one number by every way ---

LOSSES = {
    "plain": nn.CrossEntropyLoss(),
    "class weights": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2])),
    "ignored class": nn.CrossEntropyLoss(ignore_index=1),
    "functional": F.cross_entropy,
}


@pytest.mark.parametrize("name", LOSSES)
def test_history_evaluate_and_torch_agree_on_the_loss(name: str) -> None:
    loss = LOSSES[name]
    run = thalweg.train(recipe(objective=loss, epochs=1))
    x, y = X[40:], Y[40:]
    with torch.no_grad():
        whole = loss(run.model(x), y).item()
    assert run.history[0]["validation_loss"] == pytest.approx(whole, rel=1e-5)
    assert thalweg.evaluate(run, (x, y))["loss"][0] == pytest.approx(whole, rel=1e-5)


def test_a_sum_is_judged_in_batches_of_the_size_it_is_trained_in() -> None:
    still = partial(torch.optim.SGD, lr=0.0)
    data = Splits(train=(X[:42], Y[:42]), validation=(X[:42], Y[:42]))
    run = thalweg.train(recipe(data=data, objective=nn.CrossEntropyLoss(reduction="sum"), optimizer=still, epochs=1))
    assert run.history[0]["train_loss"] == pytest.approx(run.history[0]["validation_loss"], rel=1e-5)


def test_the_train_loss_counts_examples_where_time_comes_first() -> None:
    def padded(examples: list[Any]) -> Any:
        sequences, targets = zip(*examples, strict=True)
        return nn.utils.rnn.pad_sequence(list(sequences)), torch.stack(targets)  # (time, batch, features)

    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(2, 1, bias=False)

        def forward(self, sequences: Tensor) -> Tensor:
            return self.out(sequences).sum(0)[:, 0]

    ragged = [torch.randn(2 + i % 9, 2, generator=torch.Generator().manual_seed(i)) for i in range(N)]
    target = torch.randn(N, generator=torch.Generator().manual_seed(1)) * torch.arange(N)
    still = partial(torch.optim.SGD, lr=0.0)
    run = thalweg.train(
        recipe(data=Splits(train=(ragged, target)), model=Sums, objective=nn.MSELoss(), collate=padded, optimizer=still)
    )
    outputs = torch.cat([run.model(sequence[:, None]) for sequence in ragged])
    assert run.history[0]["train_loss"] == pytest.approx(F.mse_loss(outputs, target).item(), rel=1e-5)


def test_a_loss_module_is_judged_in_evaluation_mode() -> None:
    class Doubled(nn.Module):
        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(output, target) * (100 if self.training else 1)

    assert thalweg.train(recipe(objective=Doubled(), epochs=1)).history[0]["validation_loss"] < 5


def test_smoothing_bound_by_partial_is_taken_off_too() -> None:
    run = thalweg.train(recipe(objective=partial(F.cross_entropy, label_smoothing=0.5), epochs=1))
    bare = F.cross_entropy(run.model(X[40:]), Y[40:]).item()
    assert run.history[0]["validation_loss"] == pytest.approx(bare, rel=1e-5)


def test_judging_draws_the_same_numbers_whatever_was_drawn_before() -> None:
    @thalweg.objective
    def sampled(model: nn.Module, batch: Any, moment: Moment) -> Tensor:
        noise = torch.randn(len(batch[0]), generator=moment.generator) + torch.randn(())
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none") + noise

    run = thalweg.train(recipe(objective=sampled))
    torch.manual_seed(1)
    first = thalweg.evaluate(run, (X[40:], Y[40:]))
    torch.manual_seed(2)
    assert thalweg.evaluate(run, (X[40:], Y[40:])) == first


def test_an_objective_may_decay_by_its_moment_in_judging_too() -> None:
    @thalweg.objective
    def decays(model: nn.Module, batch: Any, moment: Moment) -> Tensor:
        assert moment.steps is not None
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none") * (2 - moment.step / moment.steps)

    run = thalweg.train(recipe(objective=decays))
    assert thalweg.evaluate(run, (X[40:], Y[40:]))["loss"][0] > 0


def test_a_model_that_differentiates_its_inputs_can_be_judged() -> None:
    class Force(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.energy = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = x.requires_grad_()
            return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0][:, :3]

    run = thalweg.train(recipe(model=Force))
    assert thalweg.evaluate(run, (X[40:], Y[40:]))["loss"][0] > 0


def test_metrics_are_refused_by_name() -> None:
    with pytest.raises(RecipeError, match="A metric is called 'loss'"):
        recipe(metrics={"loss": lambda output, target: 0.0})
    with pytest.raises(RecipeError, match=r"The metric 'shape' returned \(21, 3\) float32, but it gives a number"):
        thalweg.train(recipe(metrics={"shape": lambda output, target: output}))
    with pytest.raises(RecipeError, match="The metric 'broken' failed on outputs .*no such thing"):
        thalweg.train(recipe(metrics={"broken": lambda output, target: {}["no such thing"]}))
    with pytest.raises(RecipeError, match="The metric 'text' returned a str"):
        thalweg.train(recipe(metrics={"text": lambda output, target: "good"}))


def test_intervals_of_few_units_cover_what_they_promise() -> None:
    import numpy as np

    random = np.random.default_rng(0)
    for units in (3, 12, 60):
        inside = 0
        for _ in range(400):
            _, low, high = mean_interval(random.normal(0, 1, units), random.uniform(1, 2, units))
            inside += low <= 0 <= high
        assert 0.91 <= inside / 400 <= 0.985, units


def test_intervals_of_units_that_weigh_very_differently_cover_what_they_promise() -> None:
    import numpy as np

    random = np.random.default_rng(0)
    for units in (5, 13, 41):
        inside = 0
        for _ in range(600):
            _, low, high = mean_interval(random.normal(0, 1, units), random.exponential(size=units))
            inside += low <= 0 <= high
        assert 0.92 <= inside / 600 <= 0.985, units


# --- loaders: no leak, the right count ---


def test_a_subset_sampler_judges_its_subset_alone() -> None:
    part = DataLoader(ROWS, batch_size=7, sampler=SubsetRandomSampler(range(40, N)))
    leaky = thalweg.train(recipe(data=Splits(train=(X[:40], Y[:40]), validation=part)))
    for row, ours in zip(thalweg.train(recipe()).history, leaky.history, strict=True):
        assert ours["train_loss"] == row["train_loss"]
        assert ours["validation_loss"] == pytest.approx(row["validation_loss"], rel=1e-6)  # other batches, to rounding
    folds = thalweg.cross_validate(recipe(data=Splits(train=part)), folds=3)
    assert sum(len(run.recipe.data.validation) for run in folds.runs) == N - 40


@pytest.mark.parametrize("drawn", [20, 200])
def test_steps_are_counted_by_what_a_sampler_draws(drawn: int) -> None:
    seen: list[tuple[int, int | None]] = []

    @thalweg.objective
    def spy(model: nn.Module, batch: Any, moment: Moment) -> Tensor:
        if moment.training:
            seen.append((moment.step, moment.steps))
        return model(batch[0]).square().mean(1)

    loader = DataLoader(ROWS, batch_size=8, sampler=WeightedRandomSampler(torch.ones(N), drawn))
    thalweg.train(recipe(data=Splits(train=loader), objective=spy, epochs=2))
    assert seen[-1] == (2 * -(-drawn // 8) - 1, 2 * -(-drawn // 8))


def test_folds_keep_a_loaders_batch_size_and_its_weights() -> None:
    sizes: set[int] = set()
    classes: set[int] = set()

    @thalweg.objective
    def spy(model: nn.Module, batch: Any, moment: Moment) -> Tensor:
        if moment.training:
            sizes.add(len(batch[0]))
            classes.update(batch[1].tolist())
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    only_zero = WeightedRandomSampler((Y == 0).double(), N)
    loader = DataLoader(ROWS, batch_size=4, sampler=only_zero)
    thalweg.cross_validate(recipe(data=Splits(train=loader), objective=spy, batch_size=32, epochs=1), folds=3)
    assert max(sizes) == 4
    assert classes == {0}


class Own:
    """A source of the user's own, with an attribute that means nothing to us."""

    data = (X, Y)

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Any]:
        for i in range(start, 6):
            yield X[i::6], Y[i::6]


def test_an_own_source_is_trained_and_its_steps_are_not_guessed() -> None:
    run = thalweg.train(recipe(data=Splits(train=Own())))
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]
    with pytest.raises(thalweg.ThalwegError, match="length"):
        thalweg.train(recipe(data=Splits(train=Own()), schedule=Cosine()))


def test_two_targets_are_not_taken_for_a_graph_mask() -> None:
    weights = torch.rand(N)

    @thalweg.objective
    def two_heads(model: nn.Module, batch: Any) -> Losses:
        inputs, (classes, numbers) = batch
        assert len(inputs) < N
        return Losses(F.cross_entropy(model(inputs), classes, reduction="none") + numbers)

    folds = thalweg.cross_validate(
        recipe(data=Splits(train=(X, (Y, weights))), objective=two_heads, batch_size=None), folds=3
    )
    assert len(folds.runs) == 3


# --- loops of the user's own, and what ends a run ---


def test_a_loop_that_never_asks_for_the_objective_has_no_train_loss() -> None:
    def loop(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Any, objective: Any) -> None:
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    run = thalweg.train(recipe(loop=loop))
    assert run.status is Outcome.FINISHED
    assert [row["train_loss"] for row in run.history] == [None, None, None]
    assert "validation loss" in repr(run)


def test_a_loop_minimizes_the_penalty_and_may_leave_early() -> None:
    def one_batch(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Any, objective: Any) -> None:
        x, y = next(batches)
        optimizer.zero_grad()
        objective(model(x), y).backward()
        optimizer.step()

    def penalty(model: nn.Module) -> Tensor:
        return 100 * model.weight.square().sum()

    schedule = lambda step, steps: 1 / (1 + step)  # noqa: E731
    run = thalweg.train(recipe(loop=one_batch, schedule=schedule, epochs=4))
    assert [row["learning_rate"] for row in run.history] == pytest.approx([0.05, 0.025, 0.05 / 3, 0.0125])
    bare, held = (thalweg.train(recipe(loop=one_batch, penalty=p, epochs=20)) for p in (None, penalty))
    assert held.last.weight.norm() < bare.last.weight.norm()


def test_lbfgs_trains_in_a_loop_of_its_own() -> None:
    def loop(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Any, objective: Any) -> None:
        for x, y in batches:

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                optimizer.zero_grad()
                loss = objective(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)

    run = thalweg.train(recipe(loop=loop, optimizer=torch.optim.LBFGS, batch_size=None))
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]


def test_an_error_in_a_late_epoch_keeps_what_was_learned(tmp_path: Path) -> None:
    class Mine(RuntimeError):
        """An error of the user's own."""

    @thalweg.objective
    def breaks(model: nn.Module, batch: Any, moment: Moment) -> Tensor:
        if moment.training and moment.epoch == 3:
            raise Mine("enough")
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    with pytest.raises(Mine, match="enough"):
        thalweg.train(recipe(objective=breaks), out=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    assert (folder / "checkpoints" / "best.safetensors").exists()
    (run,) = thalweg.train_many([recipe(objective=breaks)])
    assert (run.status, len(run.history)) == (Outcome.FAILED, 2)
    assert run.model.weight.isfinite().all()


def test_a_model_that_keeps_activations_survives_its_own_best_epoch() -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.seen = self.out(x)
            return self.seen

    fast = partial(torch.optim.SGD, lr=30.0)
    run = thalweg.train(recipe(model=Keeps, optimizer=fast, epochs=12, stopping=thalweg.EarlyStopping(2)))
    assert run.best_epoch < len(run.history)
    assert not torch.equal(run.model.out.weight, run.last.out.weight)


def test_an_interrupt_between_runs_keeps_the_runs_before() -> None:
    def interrupted() -> nn.Module:
        raise KeyboardInterrupt

    given = [recipe(), recipe(model=interrupted), recipe()]
    runs = thalweg.train_many(given, stacked=False)
    assert [run.status for run in runs] == [Outcome.FINISHED, Outcome.INTERRUPTED]
    stacked = thalweg.train_many(given)  # the first is of a stack that was not complete
    assert [run.status for run in stacked] == [Outcome.INTERRUPTED]
    before = thalweg.train_many([recipe(penalty=lambda model: 0.0), *given])  # all are prepared before one is trained
    assert [run.status for run in before] == [Outcome.INTERRUPTED]


def test_weights_that_are_no_longer_finite_are_divergence() -> None:
    run = thalweg.train(recipe(optimizer=partial(torch.optim.SGD, lr=1e38), epochs=3))
    assert run.status is Outcome.DIVERGED


# --- recipes ---


def test_recipes_that_differ_are_told_apart() -> None:
    class Focal(nn.Module):
        def __init__(self, gamma: float) -> None:
            super().__init__()
            self.gamma = gamma

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(output, target) ** self.gamma

    smooth = recipe(objective=nn.CrossEntropyLoss(label_smoothing=0.1))
    assert recipe().difference(smooth)
    assert recipe().fingerprint() != smooth.fingerprint()
    assert recipe(objective=Focal(1.0)).fingerprint() != recipe(objective=Focal(2.0)).fingerprint()
    assert recipe(objective=Focal(1.0)).fingerprint() == recipe(objective=Focal(1.0)).fingerprint()
    assert recipe(data=Splits(train=Own())).fingerprint().endswith("~")


def test_numpy_counts_are_counts() -> None:
    import numpy as np

    assert recipe(seed=np.int64(3), epochs=np.int32(2), batch_size=np.int64(5)).seed == 3


def test_a_frozen_backbone_may_be_shared_and_its_statistics_are_spoken_of() -> None:
    backbone = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7)).eval().requires_grad_(False)
    run = thalweg.train(recipe(model=lambda: nn.Sequential(backbone, nn.Linear(7, 3))))
    assert "1 frozen batch norm layers are in evaluation mode" in " ".join(run.notices)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"objective": lambda model, batch: None}, "takes a model, so it is an objective .* Mark it"),
        ({"schedule": lambda step, steps: None}, "returned None for step 0, but it returns a number"),
        ({"schedule": lambda step: 1 - step / 9}, "was called with the optimizer and failed"),
        (
            {"optimizer": partial(torch.optim.Adam, learning_rate=0.1)},
            "optimizer=Adam.*: Adam has no argument .learning_rate.",
        ),
        ({"optimizer": partial(torch.optim.Adam, lr=-1.0)}, "optimizer=Adam.* is refused: Invalid learning rate"),
        ({"data": Splits(train=(X.double(), Y))}, "The model computes in float32: convert the inputs"),
        ({"model": lambda: nn.Sequential(nn.Embedding(2, 4), nn.Flatten(), nn.Linear(20, 3))}, "Expected tensor for"),
    ],
)
def test_errors_that_say_the_mend(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        thalweg.train(recipe(**changes))


def test_doors_refuse_what_they_cannot_read() -> None:
    with pytest.raises(thalweg.DataError, match=r"is a list of 2 arrays. Inputs and targets are a tuple: \(x, y\)"):
        thalweg.train(recipe(data=Splits(train=[X, Y])))
    with pytest.raises(RecipeError, match="level=95, but the level of an interval lies between 0 and 1"):
        thalweg.evaluate(thalweg.train(recipe()), (X, Y), level=95)
    with pytest.raises(RecipeError, match="train_many was given one recipe"):
        thalweg.train_many(recipe())


def test_a_share_stays_a_share_where_few_units_tell() -> None:
    hits = torch.ones(90).index_fill(0, torch.arange(40, 50), 0.0).numpy()
    units = torch.arange(3).repeat_interleave(30).numpy()
    assert mean_interval(hits, None, units, share=True)[2] == 1.0
    assert mean_interval(hits, None, units)[2] > 1
    assert mean_interval(1 - hits, None, units, share=True)[1] == 0.0
    assert mean_interval(2 * hits, None, units, share=True)[2] > 2  # no share after all
