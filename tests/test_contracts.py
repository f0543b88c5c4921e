"""Contracts where they are easily kept in word only: several inputs by every loader, weights, masks, two optimizers."""

import copy
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    WeightedRandomSampler,
)

import thalweg
from thalweg import Losses, Outcome, Recipe, Splits
from thalweg.loss import Categorical, WeightedLoss

N = 61
X = torch.randn(N, 5, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)
W = torch.rand(N, generator=torch.Generator().manual_seed(1)) + 0.1
CLASS_WEIGHTS = torch.tensor([1.0, 3.0, 0.5])
PAIRS = [((X[i], X[i].flip(0)), Y[i]) for i in range(N)]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(PAIRS)


def recipe(**changes: Any) -> Recipe:
    pieces: dict[str, Any] = {
        "data": Splits(train=(X, Y)),
        "model": partial(nn.Linear, 5, 3),
        "objective": nn.CrossEntropyLoss(),
        "batch_size": 13,
        "epochs": 2,
    }
    return Recipe(**(pieces | changes))


def batched(size: int) -> BatchSampler:
    return BatchSampler(SequentialSampler(range(N)), size, False)


# --- loaders ---


@pytest.mark.parametrize(
    "split",
    [
        Stream(),
        DataLoader(Stream(), batch_size=13),
        DataLoader(PAIRS, batch_sampler=batched(13)),
        DataLoader([((a[None], b[None]), y[None]) for (a, b), y in PAIRS], batch_size=None),
    ],
    ids=["a stream", "a loader of a stream", "a batch sampler", "batches already made"],
)
def test_several_inputs_stay_several_in_loaders_that_are_taken_as_they_are(split: Any) -> None:
    run = thalweg.train(recipe(data=Splits(train=split, validation=PAIRS), model=partial(nn.Bilinear, 5, 5, 3)))
    assert run.status is Outcome.FINISHED


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_list_as_sampler_is_a_subset_in_its_own_order(split: str) -> None:
    rows = list(zip(X, Y, strict=True))
    part = DataLoader(rows, batch_size=13, sampler=list(range(40, N)))  # type: ignore[arg-type]
    whole = {"train": (X, Y), split: part}
    run = thalweg.train(recipe(data=Splits(**whole), optimizer=partial(torch.optim.SGD, lr=0.0)))
    with torch.no_grad():
        expected = F.cross_entropy(run.last(X[40:]), Y[40:]).item()
    assert run.history[0][f"{split}_loss"] == pytest.approx(expected)
    assert any("in its sampler's order" in text for text in run.notices) == (split == "train")


def test_a_last_batch_of_one_is_counted_by_what_a_sampler_draws() -> None:
    def norm() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))

    def loader(drawn: int, **options: Any) -> Any:
        sampler = WeightedRandomSampler([1.0] * N, drawn)
        return DataLoader(list(zip(X, Y, strict=True)), batch_size=13, sampler=sampler, **options)

    run = thalweg.train(recipe(data=Splits(train=loader(40)), model=norm))
    assert "it joins the batch before it" in run.notices[0]
    assert thalweg.train(recipe(data=Splits(train=loader(40, drop_last=True)), model=norm)).notices == ()
    assert thalweg.train(recipe(data=Splits(train=loader(41)), model=norm)).notices == ()


def test_a_batch_sampler_with_a_generator_of_its_own_gives_the_same_run_again() -> None:
    rows = list(zip(X, Y, strict=True))
    sampler = RandomSampler(rows, generator=torch.Generator().manual_seed(5))
    again = recipe(data=Splits(train=DataLoader(rows, batch_sampler=BatchSampler(sampler, 13, False))))
    first, second = thalweg.train(again), thalweg.train(again)
    assert torch.equal(first.last.weight, second.last.weight)
    assert first.history[0]["train_loss"] != first.history[1]["train_loss"]


@pytest.mark.parametrize("graph", [False, True])
def test_a_model_that_writes_into_its_inputs_leaves_the_data_alone(graph: bool) -> None:
    class Writing(nn.Linear):
        def forward(self, x: Tensor, *edges: Tensor) -> Tensor:
            return super().forward(x.mul_(2))

    @thalweg.objective
    def loss(model: nn.Module, batch: Any) -> Tensor:
        x, y = batch
        return F.cross_entropy(model(*x) if graph else model(x), y[0] if graph else y, reduction="none")

    x, mask = X.clone(), torch.ones(N, dtype=torch.bool)
    split = ((x, torch.zeros(2, 7)), (Y, mask)) if graph else (x, Y)
    thalweg.train(
        recipe(
            data=Splits(train=split, validation=split),
            model=lambda: Writing(5, 3),
            objective=loss,
            batch_size=None,
        )
    )
    assert torch.equal(x, X)


# --- weights ---


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(CLASS_WEIGHTS),
        nn.CrossEntropyLoss(CLASS_WEIGHTS, label_smoothing=0.1),
        nn.NLLLoss(CLASS_WEIGHTS),
        Categorical(class_weights=CLASS_WEIGHTS),
        nn.CrossEntropyLoss(),
        Categorical(),
    ],
    ids=repr,
)
def test_class_weights_multiply_those_of_examples_and_ignored_ones_count_nothing(loss: Any) -> None:
    y = torch.where(torch.arange(N) % 7 == 0, -100, Y)
    run = thalweg.train(recipe(data=Splits(train=(X, (y, W)), validation=(X, (y, W))), objective=WeightedLoss(loss)))
    own = CLASS_WEIGHTS if "weight" in repr(loss) or getattr(loss, "weight", None) is not None else torch.ones(3)
    with torch.no_grad():
        output = run.last(X)
        values = -output.gather(1, Y[:, None])[:, 0]
        values = values if isinstance(loss, nn.NLLLoss) else values + output.logsumexp(1)
    weight = W * own[Y] * (y >= 0)
    expected = ((values * weight).sum() / weight.sum()).item()
    assert run.history[-1]["validation_loss"] == pytest.approx(expected, rel=1e-5)


def unweighted_positions(loss: nn.Module) -> tuple[float, float]:
    """A loss over positions, some of them ignored, of the whole split: as judged, and as it says itself."""
    x, y = torch.randn(N, 5, 7, generator=torch.Generator().manual_seed(2)), torch.arange(N * 7).reshape(N, 7) % 3
    y = torch.where(torch.arange(N * 7).reshape(N, 7) % 4 == 0, -100, y)
    y[:13] = -100  # a batch whose mean is 0 / 0
    run = thalweg.train(
        recipe(
            data=Splits(train=(x[13:], y[13:]), validation=(x, y)), model=partial(nn.Conv1d, 5, 3, 1), objective=loss
        )
    )
    with torch.no_grad():
        return run.history[-1]["validation_loss"], loss(run.last(x), y).item()


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), Categorical(), Categorical(class_weights=CLASS_WEIGHTS)])
def test_a_batch_whose_targets_are_all_ignored_counts_nothing(loss: nn.Module) -> None:
    judged, said = unweighted_positions(loss)
    assert judged == pytest.approx(said, rel=1e-5)


def test_a_function_of_torch_gives_the_values_of_examples_as_its_module_does() -> None:
    own = partial(F.cross_entropy, weight=CLASS_WEIGHTS)
    module = thalweg.train(recipe(objective=nn.CrossEntropyLoss(CLASS_WEIGHTS)))
    function = thalweg.train(recipe(objective=own))
    assert thalweg.evaluate(function, (X, Y))["loss"] == pytest.approx(thalweg.evaluate(module, (X, Y))["loss"])
    assert function.history[0]["train_loss"] == module.history[0]["train_loss"]


def test_half_precision_is_judged_by_example_too() -> None:
    x = X.bfloat16()
    run = thalweg.train(recipe(data=Splits(train=(x, Y)), model=lambda: nn.Linear(5, 3).bfloat16()))
    value, low, high = thalweg.evaluate(run, (x, Y))["loss"]
    assert value == pytest.approx(F.cross_entropy(run.last(x).float(), Y).item(), rel=1e-2)
    assert high - low < 1  # of examples; by the five batches it is wider


def test_an_output_that_is_read_by_attribute_can_be_measured() -> None:
    class Output(OrderedDict[str, Tensor]):
        @property
        def logits(self) -> Tensor:
            return self["logits"]

    class Named(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            return Output(logits=super().forward(x))

    def loss(output: Any, target: Tensor) -> Tensor:
        return F.cross_entropy(output.logits, target)

    def accuracy(output: Any, target: Tensor) -> Tensor:
        return (output.logits.argmax(1) == target).float()

    run = thalweg.train(recipe(model=lambda: Named(5, 3), objective=loss, metrics={"accuracy": accuracy}))
    right = (run.last(X).logits.argmax(1) == Y).float()
    assert thalweg.evaluate(run, (X, Y))["accuracy"][0] == pytest.approx(right.mean().item())


# --- a graph's metrics, two optimizers, differences ---


def test_a_metric_of_a_graph_is_given_the_nodes_of_the_split() -> None:
    class Nodes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(5, 3)

        def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
            return self.out(nodes)

    @thalweg.objective
    def loss(model: nn.Module, batch: Any) -> Losses:
        inputs, (labels, mask) = batch
        return Losses(F.cross_entropy(model(*inputs), labels, reduction="none"), weight=mask)

    def accuracy(output: Tensor, target: Tensor) -> Tensor:
        return (output.argmax(1) == target).float()

    graph, seen = (X, torch.randint(0, N, (2, 97))), torch.arange(N) < 40
    splits = Splits(train=(graph, (Y, seen)), validation=(graph, (Y, ~seen)))
    run = thalweg.train(
        recipe(data=splits, model=Nodes, objective=loss, batch_size=None, metrics={"accuracy": accuracy})
    )
    right = accuracy(run.last(*graph), Y)
    assert run.history[-1]["metrics"]["accuracy"] == pytest.approx(right[~seen].mean().item())
    assert thalweg.evaluate(run, splits.train)["accuracy"][0] == pytest.approx(right[seen].mean().item())


def test_a_loop_with_two_optimizers_is_given_an_object_that_holds_both() -> None:
    class Two:
        def __init__(self, model: Any) -> None:
            self.first = torch.optim.SGD(model[0].parameters(), lr=0.1)
            self.second = torch.optim.SGD(model[1].parameters(), lr=0.2)
            self.param_groups = self.first.param_groups + self.second.param_groups

        def step(self) -> None:
            self.first.step()
            self.second.step()

    class Both:
        takes_model = True

        def __call__(self, model: nn.Module) -> Any:
            return Two(model)

    seen = []

    def loop(model: nn.Module, optimizer: Any, batches: Any, objective: Any) -> None:
        for x, y in batches:
            model.zero_grad()
            objective(model(x), y).backward()
            optimizer.first.step()
            optimizer.second.step()
            seen.append([group["lr"] for group in optimizer.param_groups])

    run = thalweg.train(
        recipe(
            model=lambda: nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3)),
            optimizer=Both(),
            loop=loop,
            schedule=lambda step, steps: 0.5 if step else 1.0,
            epochs=1,
        )
    )
    assert seen == [[0.1, 0.2]] + [[0.05, 0.1]] * 4
    assert run.history[0]["train_loss"] is not None


def test_pieces_that_read_alike_are_told_apart() -> None:
    plain = recipe()
    smooth = recipe(objective=nn.CrossEntropyLoss(CLASS_WEIGHTS, label_smoothing=0.1))
    assert plain.difference(smooth) == [
        "crossentropyloss.label_smoothing 0.0 -> 0.1",
        "crossentropyloss.weight None -> [1.0, 3.0, 0.5]",
    ]
    (line,) = plain.difference(recipe(data=Splits(train=(X + 1, Y))))
    assert line == "splits.train (Tensor(61, 5), Tensor(61,)) -> the same in words, with other values"
    assert copy.deepcopy(plain).epochs == 2


def test_rooms_are_found_from_the_front_door() -> None:
    assert thalweg.optim.Cosine()(0, 3) == 1.0
    assert thalweg.nn.mlp(5, 3).__class__ is nn.Sequential
    assert {"loss", "measure", "nn", "optim"} <= set(dir(thalweg))


def test_a_run_that_failed_says_why() -> None:
    (run,) = thalweg.train_many([recipe(model=lambda: nn.Linear(7, 3))])
    assert repr(run).startswith("Run(FAILED, 0 epochs, best epoch 0, RecipeError: In the train split: The model Linear")


def test_a_schedule_may_return_any_number() -> None:
    import numpy as np

    run = thalweg.train(recipe(schedule=lambda step, steps: np.float32(0.5), epochs=1))
    assert run.history[0]["learning_rate"] == pytest.approx(0.0005)
