"""The loop and what it promises: order, history, best weights, schedules, stopping, repairs, endings."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

import thalweg
from thalweg import EarlyStopping, Losses, Moment, Outcome, Recipe, Splits
from thalweg.training.build import prepare
from thalweg.training.loop import batches, steps
from thalweg.training.tally import RunningMean

CPU = torch.device("cpu")
N, FEATURES, CLASSES = 61, 5, 3


def data(n: int = N, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, FEATURES, generator=random)
    return x, x[:, :CLASSES].argmax(1)


def recipe(**changes: Any) -> Recipe:
    plain = Recipe(
        data=Splits(train=data(), validation=data(23, 1)),
        model=partial(nn.Linear, FEATURES, CLASSES),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.05),
        batch_size=11,
        epochs=4,
    )
    return plain.but(**changes)


def losses(run: thalweg.Run) -> list[float]:
    return [row["train_loss"] for row in run.history]


# --- randomness ---


def test_the_same_recipe_gives_the_same_run_and_touches_no_random_stream() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = thalweg.train(recipe(model=dropout_net))
    torch.rand(7)
    second = thalweg.train(recipe(model=dropout_net))
    assert losses(first) == losses(second)
    torch.set_rng_state(before[0])
    thalweg.train(recipe(model=dropout_net))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def dropout_net() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 7), nn.Dropout(0.5), nn.Linear(7, CLASSES))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def orders(seed: int, **changes: Any) -> list[list[int]]:
        seen: list[list[int]] = []

        @thalweg.objective
        def spy(model: nn.Module, batch: Any, moment: Moment) -> Tensor:
            x, ids = batch
            if moment.training:
                seen.append(ids.tolist())
            return model(x).square().mean(1)

        splits = Splits(train=(data()[0], torch.arange(N)))
        thalweg.train(recipe(data=splits, objective=spy, seed=seed, epochs=2, **changes))
        return seen

    first = orders(0)
    assert first == orders(0, model=dropout_net, optimizer=partial(torch.optim.SGD, lr=0.1))
    assert first != orders(1)
    half = len(first) // 2
    epochs = [list(chain.from_iterable(part)) for part in (first[:half], first[half:])]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(N))


def test_an_objectives_random_numbers_depend_on_seed_and_step() -> None:
    drawn: list[float] = []

    @thalweg.objective
    def draws(model: nn.Module, batch: Any, moment: Moment) -> Tensor:
        if moment.training:
            drawn.append(torch.rand((), generator=moment.generator).item())
        return model(batch[0]).square().mean(1)

    thalweg.train(recipe(objective=draws, epochs=2))
    assert len(set(drawn)) == len(drawn) == 12
    again, drawn = drawn, []
    thalweg.train(recipe(objective=draws, epochs=2))
    assert drawn == again


# --- the history ---


def test_the_train_loss_is_the_running_mean_in_training_mode() -> None:
    """Against the loop written by hand: each batch's loss before its update, weighted by its examples."""
    chosen = recipe(model=dropout_net, epochs=1)
    training = prepare(chosen, CPU)
    torch.manual_seed(0)
    weighted = [(minimized.item(), losses.weight) for minimized, losses in steps(training, 1, RunningMean(CPU))]
    assert [weight for _, weight in weighted] == [11, 11, 11, 11, 11, 6]
    mean = RunningMean(CPU)
    training = prepare(chosen, CPU)
    torch.manual_seed(0)
    for _ in steps(training, 1, mean):
        pass
    assert mean.value() == pytest.approx(sum(loss * weight for loss, weight in weighted) / N, rel=1e-6)


def test_a_row_of_the_history_has_all_its_names() -> None:
    run = thalweg.train(recipe(metrics={"accuracy": accuracy}))
    row = run.history[-1]
    assert set(row) == {
        "epoch",
        "train_loss",
        "validation_loss",
        "metrics",
        "gradient_norm",
        "learning_rate",
        "seconds",
    }
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4]
    assert 0 < row["metrics"]["accuracy"] <= 1
    assert row["gradient_norm"] > 0
    assert row["learning_rate"] == 0.05


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(1) == target).float()


def test_the_gradient_norm_is_that_of_the_last_batch() -> None:
    training = prepare(recipe(epochs=1), CPU)
    for _ in steps(training, 1, RunningMean(CPU)):
        norm = torch.stack([parameter.grad.square().sum() for parameter in training.model.parameters()]).sum().sqrt()
    assert thalweg.train(recipe(epochs=1)).history[0]["gradient_norm"] == pytest.approx(norm.item(), rel=1e-6)


def test_the_loop_can_pause_before_the_step() -> None:
    training = prepare(recipe(epochs=1), CPU)
    before = training.model.weight.clone()
    for _ in steps(training, 1, RunningMean(CPU), pause_before_step=True):
        assert training.model.weight.grad is not None
        assert torch.equal(training.model.weight, before)
        break
    for _ in steps(training, 1, RunningMean(CPU)):
        assert not torch.equal(training.model.weight, before)
        break


def test_best_and_last_weights_are_kept_apart() -> None:
    run = thalweg.train(recipe(epochs=30, optimizer=partial(torch.optim.SGD, lr=20.0)))
    validation = [row["validation_loss"] for row in run.history]
    assert run.best_epoch == 1 + int(np.argmin(validation)) < 30
    split = recipe().data.validation
    assert thalweg.evaluate(run, split)["loss"][0] == pytest.approx(min(validation), rel=1e-5)
    assert nn.functional.cross_entropy(run.last(split[0]), split[1]).item() == pytest.approx(validation[-1], rel=1e-5)
    assert not run.model.training
    assert not run.last.training


def test_without_validation_the_last_weights_are_the_best() -> None:
    run = thalweg.train(recipe(data=Splits(train=data())))
    assert run.model is run.last
    assert run.best_epoch == 4
    assert run.history[0]["validation_loss"] is None


# --- schedules, stopping, penalties, judging ---


def test_a_schedule_of_two_arguments_multiplies_each_groups_rate() -> None:
    def two_groups(parameters: Any) -> torch.optim.Optimizer:
        weight, bias = parameters
        return torch.optim.SGD([{"params": [weight], "lr": 0.1}, {"params": [bias], "lr": 0.4}])

    seen = []
    training = prepare(recipe(optimizer=two_groups, schedule=lambda step, steps: 1 - step / steps, epochs=2), CPU)
    for _ in steps(training, 1, RunningMean(CPU)):
        seen.append([group["lr"] for group in training.optimizer.param_groups])
    assert seen[0] == [0.1, 0.4]
    assert seen[3] == pytest.approx([0.1 * 0.75, 0.4 * 0.75])


def test_a_torch_scheduler_is_stepped_once_an_epoch_unless_marked() -> None:
    halving = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    by_epoch = thalweg.train(recipe(schedule=halving))
    assert [row["learning_rate"] for row in by_epoch.history] == [0.05, 0.025, 0.0125, 0.00625]
    halving_per_step = partial(torch.optim.lr_scheduler.StepLR, step_size=6, gamma=0.5)
    halving_per_step.per_step = True
    by_step = thalweg.train(recipe(schedule=halving_per_step))
    assert [row["learning_rate"] for row in by_step.history] == [0.05, 0.025, 0.0125, 0.00625]


def test_a_plateau_scheduler_watches_the_validation_loss() -> None:
    plateau = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0, factor=0.1)
    run = thalweg.train(recipe(schedule=plateau, optimizer=partial(torch.optim.SGD, lr=20.0), epochs=8))
    rates = [row["learning_rate"] for row in run.history]
    rose = next(i for i in range(1, 8) if run.history[i]["validation_loss"] > run.history[i - 1]["validation_loss"])
    assert rates[rose] == 20.0
    assert rates[rose + 1] == pytest.approx(2.0)


def test_early_stopping_ends_the_run_and_keeps_the_best_epoch() -> None:
    run = thalweg.train(recipe(epochs=50, stopping=EarlyStopping(3), optimizer=partial(torch.optim.SGD, lr=20.0)))
    assert run.status is Outcome.STOPPED_EARLY
    assert len(run.history) == run.best_epoch + 3


def test_early_stopping_without_validation_is_refused_before_training() -> None:
    with pytest.raises(thalweg.RecipeError, match="watches the validation loss, but there is no validation split"):
        thalweg.train(recipe(data=Splits(train=data()), stopping=EarlyStopping(3)))


def test_a_penalty_is_minimized_but_never_compared() -> None:
    def penalty(model: nn.Module) -> Tensor:
        return 100 * model.weight.square().sum()

    bare, held = thalweg.train(recipe(epochs=8)), thalweg.train(recipe(epochs=8, penalty=penalty))
    assert held.last.weight.norm() < 0.5 * bare.last.weight.norm()
    assert held.history[-1]["train_loss"] < 3


def test_the_judge_takes_label_smoothing_off_and_can_be_another_loss() -> None:
    smooth = recipe(objective=nn.CrossEntropyLoss(label_smoothing=0.3))
    run = thalweg.train(smooth)
    x, y = smooth.data.validation
    bare = nn.functional.cross_entropy(run.model(x), y).item()
    assert thalweg.evaluate(run, (x, y))["loss"][0] == pytest.approx(bare, rel=1e-5)
    wrong = thalweg.train(recipe(judge=lambda output, target: (output.argmax(1) != target).float().mean()))
    assert 0 <= wrong.history[-1]["validation_loss"] <= 1


def test_metrics_of_every_form_agree() -> None:
    import torchmetrics

    @thalweg.objective
    def marked(model: nn.Module, batch: Any) -> Tensor:
        return accuracy(model(batch[0]), batch[1])

    forms = {
        "each": accuracy,
        "whole": lambda output, target: accuracy(output, target).mean(),
        "marked": marked,
        "torchmetrics": torchmetrics.Accuracy(task="multiclass", num_classes=CLASSES),
    }
    run = thalweg.train(recipe(metrics=forms))
    scores = thalweg.evaluate(run, recipe().data.validation)
    values = [scores[name][0] for name in forms]
    assert values == pytest.approx([values[0]] * 4)
    assert scores["each"] == scores["marked"]
    assert abs(scores["whole"][1] - scores["each"][1]) < 0.08


def test_weights_make_some_examples_count_more() -> None:
    x, y = data()
    weights = torch.where(y == 0, 1.0, 0.0)

    @thalweg.objective
    def weighted(model: nn.Module, batch: Any) -> Losses:
        inputs, (target, weight) = batch
        return Losses(nn.functional.cross_entropy(model(inputs), target, reduction="none"), weight=weight)

    whole = recipe(objective=weighted, batch_size=None)
    run = thalweg.train(whole.but(data=Splits(train=(x, (y, weights)))))
    alone = thalweg.train(whole.but(data=Splits(train=(x[y == 0], (y[y == 0], weights[y == 0])))))
    assert losses(run) == pytest.approx(losses(alone), rel=1e-5)
    only = x[y == 0], (y[y == 0], weights[y == 0])
    both, some = thalweg.evaluate(run, (x, (y, weights)))["loss"], thalweg.evaluate(run, only)["loss"]
    assert both[0] == pytest.approx(some[0], rel=1e-5)


def test_units_are_resampled_whole() -> None:
    x, y = data()

    def in_units(unit: Tensor) -> Any:
        @thalweg.objective
        def loss(model: nn.Module, batch: Any) -> Losses:
            return Losses(nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none"), unit=unit)

        return loss

    run = thalweg.train(recipe(data=Splits(train=(x, y)), batch_size=None))
    twice = (torch.cat([x, x]), torch.cat([y, y]))

    def interval(unit: Tensor) -> float:
        judged = run.recipe.but(data=Splits(train=twice), objective=in_units(unit))
        _, low, high = thalweg.evaluate(thalweg.train(judged), twice)["loss"]
        return high - low

    assert interval(torch.arange(N).repeat(2)) > 1.2 * interval(torch.arange(2 * N))


# --- loaders ---


def test_a_map_style_loader_is_opened_and_ordered_by_us() -> None:
    loader = DataLoader(TensorDataset(*data()), batch_size=11, shuffle=True)
    splits = Splits(train=loader, validation=recipe().data.validation)
    assert losses(thalweg.train(recipe(data=splits))) == losses(thalweg.train(recipe()))


def test_a_loaders_own_batch_size_collate_and_drop_last_are_kept() -> None:
    sizes: list[int] = []

    def collate(examples: list[Any]) -> Any:
        sizes.append(len(examples))
        return torch.utils.data.default_collate(examples)

    loader = DataLoader(TensorDataset(*data()), batch_size=7, shuffle=True, collate_fn=collate, drop_last=True)
    run = thalweg.train(recipe(data=Splits(train=loader), epochs=1))
    assert sizes[1:] == [7] * 8  # the first batch checks the shapes
    assert run.notices == ("The train loader brings its own batch size 7; Recipe.batch_size is not used.",)


def test_a_loader_that_does_not_shuffle_keeps_its_order_and_says_so() -> None:
    loader = DataLoader(TensorDataset(*data()), batch_size=11, shuffle=False)
    run = thalweg.train(recipe(data=Splits(train=loader)))
    assert "shuffle=False" in " ".join(run.notices)
    assert losses(run) != losses(thalweg.train(recipe(data=Splits(train=data()))))


def test_workers_change_no_number() -> None:
    def with_workers(count: int) -> list[float]:
        loader = DataLoader(TensorDataset(*data()), batch_size=11, shuffle=True, num_workers=count)
        return losses(thalweg.train(recipe(data=Splits(train=loader), epochs=2)))

    assert with_workers(2) == with_workers(0)


def test_a_weighted_sampler_draws_by_our_seed() -> None:
    def sampled(seed: int) -> list[float]:
        sampler = WeightedRandomSampler(torch.ones(N), N)
        loader = DataLoader(TensorDataset(*data()), batch_size=11, sampler=sampler)
        return losses(thalweg.train(recipe(data=Splits(train=loader), seed=seed)))

    assert sampled(0) == sampled(0) != sampled(1)


# --- what is repaired, and said ---


def test_a_batch_larger_than_the_data_is_gradient_descent() -> None:
    run = thalweg.train(recipe(batch_size=100))
    assert "batch_size=100 is larger than the 61 training examples" in run.notices[0]
    assert losses(run) == losses(thalweg.train(recipe(batch_size=61)))
    assert losses(run) == pytest.approx(losses(thalweg.train(recipe(batch_size=None))), rel=1e-5)


def test_a_last_batch_of_one_is_merged_for_batch_norm_alone() -> None:
    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(FEATURES, 7), nn.BatchNorm1d(7), nn.Linear(7, CLASSES))

    run = thalweg.train(recipe(model=net, batch_size=20))
    assert run.status is Outcome.FINISHED
    assert "The last batch would hold one example" in run.notices[0]
    assert thalweg.train(recipe(batch_size=20)).notices == ()


def test_a_notice_is_said_once_for_many_runs(caplog: pytest.LogCaptureFixture) -> None:
    runs = thalweg.train_many([recipe(batch_size=100, seed=seed) for seed in range(3)])
    assert [len(run.notices) for run in runs] == [1, 1, 1]
    assert len(caplog.records) == 1


def test_lazy_layers_get_their_shapes_before_the_optimizer() -> None:
    run = thalweg.train(recipe(model=lambda: nn.Sequential(nn.LazyLinear(7), nn.ReLU(), nn.LazyLinear(CLASSES))))
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]


# --- how runs end ---


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    @thalweg.objective
    def breaks(model: nn.Module, batch: Any, moment: Moment) -> Tensor:
        values = model(batch[0]).square().mean(1)
        return values * float("nan") if moment.training and moment.epoch == 3 else values

    run = thalweg.train(recipe(objective=breaks))
    assert run.status is Outcome.DIVERGED
    assert len(run.history) == 3
    assert torch.isfinite(run.model.weight).all()


def test_an_interrupt_keeps_what_was_learned() -> None:
    def interrupt(epoch: int, step: int, row: dict[str, Any] | None) -> None:
        if step == 15:
            raise KeyboardInterrupt

    run = thalweg.train(recipe(), progress=interrupt)
    assert run.status is Outcome.INTERRUPTED
    assert len(run.history) == 2
    assert not torch.equal(run.last.weight, run.model.weight)


def test_a_recipe_that_fails_leaves_the_others_alone() -> None:
    runs = thalweg.train_many([recipe(), recipe(model=partial(nn.Linear, 7, CLASSES)), recipe(seed=1)])
    assert [run.status.name for run in runs] == ["FINISHED", "FAILED", "FINISHED"]
    assert "expects 7 features, the inputs have 5" in str(runs[1].error)
    with pytest.raises(thalweg.RunError, match="This run has no model, it ended as FAILED"):
        _ = runs[1].model


# --- cross-validation ---


def test_folds_hold_every_example_out_once_and_classes_are_spread() -> None:
    folds = thalweg.cross_validate(recipe(data=Splits(train=data())), folds=3)
    held_out = [run.recipe.data.validation.data[1] for run in folds.runs]
    assert sum(map(len, held_out)) == N
    counts = torch.stack([torch.bincount(labels, minlength=CLASSES) for labels in held_out])
    assert int((counts.max(0).values - counts.min(0).values).max()) <= 1
    mean, low, high = folds.scores["loss"]
    assert low < mean < high
    assert mean == pytest.approx(np.mean([fold["loss"] for fold in folds.folds]))


def test_folds_of_a_stream_are_refused() -> None:
    loader = DataLoader([data(), data(7, 2)], batch_size=None)
    with pytest.raises(thalweg.Unsupported, match="has no subsets, so it cannot be folded. Read it into memory"):
        thalweg.cross_validate(recipe(data=Splits(train=loader)))


def test_nothing_is_written_without_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    thalweg.train(recipe())
    assert list(tmp_path.iterdir()) == []


def test_the_gradient_norm_counts_no_gradient_of_an_earlier_step() -> None:
    """Parameters that the optimizer was not given are not cleared by it."""
    only_weights = recipe(optimizer=lambda p: torch.optim.SGD([w for w in p if w.dim() > 1], lr=0.0), epochs=3)
    norms = [row["gradient_norm"] for row in thalweg.train(only_weights.but(batch_size=None)).history]
    assert norms == pytest.approx([norms[0]] * 3)


def test_hooks_of_an_optimizer_are_called_though_its_step_is_bare() -> None:
    called: list[str] = []

    def hooked(parameters: Any) -> torch.optim.Optimizer:
        optimizer = torch.optim.Adam(parameters, lr=0.01)
        optimizer.register_step_post_hook(lambda *given: called.append("after"))
        return optimizer

    plain = recipe(optimizer=partial(torch.optim.Adam, lr=0.01), epochs=2)
    run = thalweg.train(plain.but(optimizer=hooked))
    assert len(called) == 12
    assert [row["train_loss"] for row in run.history] == [row["train_loss"] for row in thalweg.train(plain).history]


def test_a_step_is_torchs_own_to_the_bit() -> None:
    """Against torch's fused Adam in a loop by hand, its wrappers and all."""
    chosen = recipe(optimizer=partial(torch.optim.Adam, lr=0.01, fused=True), epochs=1)
    training = prepare(chosen, CPU)
    model = prepare(chosen, CPU).model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    for batch in batches(training, 1):
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(model(batch[0]), batch[1]).backward()
        optimizer.step()
    ours = thalweg.train(chosen).last.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in model.state_dict().items())
