"""What differs on a GPU: where data lie, what is waited for, what is drawn where; with THALWEG_CUDA=1 on a real one."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import thalweg
from thalweg import Outcome, Recipe, RecipeError, Run, Splits
from thalweg.core.arrays import ArraySource
from thalweg.core.nest import to_device
from thalweg.core.source import Ordered
from thalweg.core.stream import StreamSource
from thalweg.optim import EMA
from thalweg.training import steps
from thalweg.training.judging import check_labels
from thalweg.training.resident import resident
from thalweg.training.stacked import kind_of
from thalweg.training.tally import RunningMean
from thalweg.training.train import ready

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and THALWEG_CUDA=1")
META = torch.device("meta")
X = torch.randn(230, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).long() + (X[:, 2] > 0.5).long()


def recipe(**changes: Any) -> Recipe:
    made = Recipe(
        data=Splits(train=(X[:170], Y[:170]), validation=(X[170:], Y[170:])),
        model=lambda: nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3)),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=3e-3),
        batch_size=17,
        epochs=4,
    )
    return made.but(**changes)


def images() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)
    )


def apart(first: Run, second: Run) -> float:
    one, other = (run.last.cpu().state_dict() for run in (first, second))
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_batches_are_cut_out_where_the_data_lie() -> None:
    here = ArraySource(({"a": X, "b": [X]}, Y), batch_size=50)
    there = resident(here, META)
    own, other = (list(each.batches(1, 1, torch.Generator().manual_seed(0))) for each in (here, there))
    assert [y.shape for _, y in own] == [y.shape for _, y in other]
    assert all(x["b"][0].device == META and y.device == META for x, y in other)
    assert isinstance(there, Ordered)
    assert there.ordered(1, None)[0].device.type == "cpu"


@pytest.mark.parametrize("source", [ArraySource((X.to_sparse(), Y), 5), StreamSource([(X, Y)])])
def test_what_cannot_go_to_the_device_at_once_stays(source: Any) -> None:
    assert resident(source, META) is source


def test_labels_without_a_score_are_refused_and_ignored_ones_are_not() -> None:
    loss, output = nn.CrossEntropyLoss(ignore_index=7), torch.zeros(4, 3)
    check_labels(loss, output, torch.tensor([0, 1, 2, 7]), torch.tensor([0, 1, 2, 7]))
    for label in (3, -1):
        with pytest.raises(RecipeError, match="but the output has 3 classes, so labels from 0 to 2: give the model"):
            check_labels(loss, output, torch.zeros(4).long(), torch.tensor([0, label, 2]))
    check_labels(nn.MSELoss(), output, torch.zeros(4).long(), torch.tensor([9]))
    check_labels(loss, output, torch.zeros(4, 3).long(), torch.tensor([9]))


def test_a_resumed_run_of_another_precision_or_with_lazy_layers_says_nothing_of_bits(tmp_path: Path) -> None:
    """What autocast and the mode of a loss remember is no state of the run."""

    def stop(epoch: int, step: int, row: Any) -> None:
        if step == 13:
            raise KeyboardInterrupt

    for changes in ({"precision": "bfloat16"}, {"model": lambda: nn.Sequential(nn.LazyLinear(5), nn.Linear(5, 3))}):
        whole = thalweg.train(recipe(**changes), device="cpu")
        broken = thalweg.train(recipe(**changes), device="cpu", out=tmp_path, progress=stop)
        again = thalweg.resume(broken.path, recipe(**changes), device="cpu")
        assert apart(whole, again) == 0
        assert not any("not exact" in said for said in again.notices)


@CUDA
def test_a_run_is_that_of_the_cpu_but_for_rounding() -> None:
    for changes in ({}, {"model": images}, {"model": lambda: nn.LazyLinear(3)}, {"average": EMA(0.9)}):
        first, second = (thalweg.train(recipe(**changes), device=device) for device in ("cpu", "cuda"))
        assert next(second.last.parameters()).device.type == "cuda"
        assert apart(first, second) < 1e-4


@CUDA
def test_the_device_and_bfloat16_are_found() -> None:
    training = ready(recipe(precision="auto"), "auto")
    assert training.device.type == "cuda"
    assert training.choices["precision"] == ("bfloat16" if torch.cuda.is_bf16_supported(False) else "float32")


@CUDA
@pytest.mark.parametrize(
    "changes",
    [{}, {"clip_norm": 1.0, "accumulate": 2, "average": EMA(0.9)}, {"precision": "bfloat16"}, {"model": images}],
)
def test_no_step_waits_for_the_device(changes: dict[str, Any]) -> None:
    training = ready(recipe(**changes), "cuda")

    def epoch(number: int) -> None:
        training.position.batch = 0
        for _ in steps(training, number, RunningMean(training.device)):
            pass

    epoch(1)
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            epoch(2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not [str(one.message) for one in seen if "called a synchronizing" in str(one.message)]


@CUDA
def test_stacked_runs_are_the_separate_ones() -> None:
    chosen = [recipe(seed=seed, optimizer=partial(torch.optim.Adam, lr=1e-3 * (seed + 1))) for seed in range(3)]
    assert kind_of(ready(chosen[0], "cuda")) is not None
    together, alone = thalweg.train_many(chosen, device="cuda"), [thalweg.train(each, device="cuda") for each in chosen]
    assert max(map(apart, together, alone)) < 1e-5
    dropping = recipe(model=lambda: nn.Sequential(nn.Linear(6, 9), nn.Dropout(0.5), nn.Linear(9, 3)))
    assert kind_of(ready(dropping, "cuda")) is None


@CUDA
@pytest.mark.parametrize("changes", [{}, {"model": images}, {"model": images, "channels_last": True}])
def test_the_same_recipe_gives_the_same_bits_and_so_does_a_resume(changes: dict[str, Any], tmp_path: Path) -> None:
    def stop(epoch: int, step: int, row: Any) -> None:
        if step == 13:
            raise KeyboardInterrupt

    first, second = (thalweg.train(recipe(**changes), device="cuda") for _ in range(2))
    broken = thalweg.train(recipe(**changes), device="cuda", out=tmp_path, progress=stop)
    assert apart(first, second) == 0
    assert apart(first, thalweg.resume(broken.path, recipe(**changes), device="cuda")) == 0


@CUDA
def test_a_loss_that_is_not_finite_names_the_examples_of_its_own_epoch() -> None:
    chosen = recipe(optimizer=partial(torch.optim.SGD, lr=1e38), epochs=3)
    first, second = (thalweg.train(chosen, device=device) for device in ("cpu", "cuda"))
    assert first.status is second.status is Outcome.DIVERGED
    assert len(second.history) == len(first.history)
    assert "(epoch 1, " in second.notices[-1]


@CUDA
def test_a_label_out_of_range_is_told_and_the_device_goes_on() -> None:
    with pytest.raises(RecipeError, match="The labels run from 0 to 169, but the output has 3 classes"):
        thalweg.train(recipe(data=Splits(train=(X[:170], torch.arange(170)))), device="cuda")
    assert thalweg.train(recipe(epochs=1), device="cuda").status is Outcome.FINISHED


@CUDA
def test_data_on_the_device_train_there_and_on_the_cpu() -> None:
    there = Splits(train=(X[:170].cuda(), Y[:170].cuda()), validation=(X[170:].cuda(), Y[170:].cuda()))
    whole = thalweg.train(recipe(), device="cpu")
    assert apart(whole, thalweg.train(recipe(data=there), device="cpu")) == 0
    assert apart(whole, thalweg.train(recipe(data=there), device="cuda")) < 1e-4
    assert torch.equal(to_device(X.cuda(), torch.device("cpu")), X)


@CUDA
def test_optimizers_without_a_fused_kernel_for_cuda_train() -> None:
    assert thalweg.train(recipe(optimizer=torch.optim.Adagrad), device="cuda").status is Outcome.FINISHED
