"""What a recipe cannot be, and what its error says: the value, what was expected, the mend."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR

import thalweg
from thalweg import DataError, EarlyStopping, Losses, Recipe, RecipeError, Splits
from thalweg.loss import WeightedLoss
from thalweg.optim import Grouped, per_step

N = 37
X, Y = torch.randn(N, 5, generator=torch.Generator().manual_seed(0)), torch.arange(N) % 3
SHARED = nn.Linear(5, 3)


def recipe(**changes: Any) -> Recipe:
    pieces = {"data": Splits(train=(X, Y)), "model": partial(nn.Linear, 5, 3), "objective": nn.CrossEntropyLoss()}
    return Recipe(**(pieces | {"epochs": 1} | changes))


def message(error: type[Exception], **changes: Any) -> str:
    with pytest.raises(error) as caught:
        thalweg.train(recipe(**changes))
    return str(caught.value)


ADAM = partial(torch.optim.Adam, lr=0.1)


class Stream(torch.utils.data.IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zip(X, Y, strict=True))


STREAM = torch.utils.data.DataLoader(Stream(), batch_size=32)


class Both(nn.Linear):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x), x


class Named(nn.Linear):
    def forward(self, x: torch.Tensor) -> Any:
        return {"scores": super().forward(x)}


def marked(function: Any) -> Any:
    return thalweg.objective(function)


def each(model: nn.Module, batch: Any) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": SHARED}, "model is an instance of Linear, .* Give a factory: model=lambda: Linear"),
    ({"model": lambda: SHARED}, "returns the same Linear each time .* Build the model inside it"),
    ({"model": nn.Linear}, "could not be called without arguments: .* model=functools.partial"),
    ({"model": lambda: "net"}, "The model factory returned a str, but it has to return an nn.Module"),
    ({"model": nn.Flatten}, "Flatten has no parameters to train"),
    ({"model": 7}, "model=7 cannot be called. Give a factory of a model"),
    ({"model": lambda: nn.Linear(6, 3)}, r"expects 6 features, the inputs have 5: build it for 5"),
    (
        {"model": lambda: nn.Linear(5, 2)},
        r"labels run from 0 to 2, but the output has 2 classes.*give the model 3 outputs",
    ),
    ({"model": lambda: nn.Conv2d(3, 2, 1)}, r"The model Conv2d could not be applied to a batch, model\(x\)"),
    (
        {"objective": nn.CrossEntropyLoss},
        r"objective is the class CrossEntropyLoss, not a loss. Make one: CrossEntropyLoss\(...\)",
    ),
    ({"objective": nn.CrossEntropyLoss(reduction="none")}, "a plain loss returns one scalar. Take its mean"),
    (
        {"objective": nn.BCEWithLogitsLoss()},
        r"refused the model's output \(32, 3\) float32 with the target \(32,\) int64",
    ),
    ({"objective": nn.Bilinear(2, 2, 1)}, "The loss Bilinear has parameters of its own,.*Put them into the model"),
    ({"objective": marked(lambda model: 0)}, "takes 1 arguments, but it is called with .model, batch"),
    (
        {"objective": marked(lambda model, batch: each(model, batch)[:, None])},
        r"returned \(32, 1\) float32, .* shape \(batch,\)",
    ),
    (
        {"objective": marked(lambda m, b: Losses(each(m, b), torch.ones(2)))},
        r"returned weight \(2,\) float32 for values \(32,\)",
    ),
    (
        {"objective": marked(lambda m, b: b["x"])},
        r"The objective .* failed on a batch \(\(32, 5\) float32, \(32,\) int64\)",
    ),
    ({"optimizer": torch.optim.Adam(SHARED.parameters())}, "optimizer is an instance of Adam, .*functools.partial"),
    ({"optimizer": lambda p: torch.optim.Adam(SHARED.parameters())}, "holds none of the model's parameters"),
    ({"optimizer": lambda p: list(p)}, "which is no torch optimizer"),
    ({"optimizer": torch.optim.LBFGS}, "LBFGS.step asks for a closure, .* Recipe.loop="),
    ({"schedule": lambda a, b, c: 1.0}, "takes 3 arguments, but a schedule is .step, steps. -> multiplier"),
    ({"batch_size": 0}, "batch_size=0, but it is a whole number of at least 1, or None"),
    ({"batch_size": 3.5}, "batch_size=3.5, but it is a whole number"),
    ({"epochs": -1}, "epochs=-1, but it is a whole number of at least 0"),
    ({"seed": "1"}, "seed='1', but a seed is a whole number"),
    ({"metrics": [1]}, "metrics=.1. is no dict of names and metrics. Give each a name"),
    ({"metrics": {"a": nn.MSELoss}}, "The metric 'a' is the class MSELoss. Make one"),
    (
        {"metrics": {"a": 3}},
        "The metric 'a' is 3, which cannot be called",
    ),
    ({"judge": 3}, "judge=3 cannot be called"),
    ({"loop": lambda model: None}, "The loop could not be called: .* a loop is a function"),
    (
        {"objective": lambda output, target, extra: None},
        "asks for 3 arguments, but a plain loss is called with .output, target",
    ),
    (
        {"objective": lambda m, b: m(b)},
        "not callable. A plain loss is called with .output, target.; one that takes the",
    ),
    (
        {"objective": lambda output, target: cross_entropy(output, target).item()},
        r"returned float, but a plain loss returns one scalar tensor. Keep the tensor, .* no .item\(\)",
    ),
    (
        {"objective": lambda output, target: cross_entropy(output.detach(), target)},
        r"of a batch is \d.* and has no gradient, .* no .detach\(\), .item\(\), argmax or torch.no_grad",
    ),
    ({"objective": marked(lambda m, b: None)}, r"returned NoneType, .* Return a tensor of values, or thalweg.Losses\("),
    (
        {"objective": marked(lambda m, b: Losses(each(m, b), np.ones(len(b[1]))))},
        r"In the train split: .* a weight that is a ndarray, .* shape, \(32,\). Give torch.as_tensor\(weight\)",
    ),
    (
        {"objective": marked(lambda m, b: Losses(each(m, b), None, list(b[1])))},
        r"a unit that is a list, .* Give torch.as_tensor\(unit\)",
    ),
    ({"model": lambda: Both(5, 3)}, r"lambda output, target: loss\(output\[0\], target\)"),
    ({"model": lambda: Named(5, 3)}, r"lambda output, target: loss\(output\['scores'\], target\)"),
    (
        {"model": lambda: nn.Linear(5, 1), "objective": nn.BCEWithLogitsLoss()},
        r"convert the target, y.float\(\). As many numbers in another shape: reshape the target, y.reshape\(-1, 1\)",
    ),
    ({"model": lambda: nn.Linear(5, 3).double()}, r"computes in float64: convert the inputs, x.to\(torch.float64\)"),
    ({"data": Splits(train=(X, Y.int()))}, r"Class targets are integers: convert them, y.long\(\)"),
    (
        {"data": Splits(train=(X.byte().reshape(N, 1, 5), Y)), "model": lambda: nn.Conv1d(1, 3, 2)},
        r"The inputs are integers: convert them, x.float\(\)",
    ),
    (
        {"data": Splits(train=(X.double().reshape(N, 1, 5), Y)), "model": lambda: nn.Conv1d(1, 3, 2)},
        r"computes in float32: convert the inputs, x.to\(torch.float32\)",
    ),
    (
        {"data": Splits(train=(torch.ones(N, 5, 7), Y)), "model": lambda: nn.Conv2d(1, 3, 2)},
        r"The inputs have no axis of channels: give them one, x\[:, None\]",
    ),
    (
        {"data": Splits(train=(X.reshape(N, 1, 5), Y)), "model": lambda: nn.Conv1d(3, 2, 1)},
        r"Conv1d expects 3 channels on axis 1, the inputs have 1 there: build it for 1",
    ),
    (
        {"data": Splits(train=(torch.ones(N, 5, 7, 3), Y)), "model": lambda: nn.Conv2d(3, 2, 1)},
        r"Conv2d expects 3 channels on axis 1, .* move them to axis 1, x.movedim\(-1, 1\)",
    ),
    (
        {"data": Splits(train=(X[:, 0], Y)), "model": lambda: nn.Linear(1, 3)},
        r"An example is a single number here: give it an axis, x\[:, None\]",
    ),
    (
        {"model": lambda: nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)), "batch_size": 1},
        "Batch norm cannot train on one example: take another batch size, or a loader with drop_last=True",
    ),
    (
        {"schedule": StepLR},
        r"StepLR needs more than the optimizer. Bind it: functools.partial\(StepLR, step_size=...\)",
    ),
    (
        {"schedule": per_step(ReduceLROnPlateau)},
        "which there is once an epoch, but it is marked by per_step. Give it unmar",
    ),
    (
        {"schedule": ReduceLROnPlateau, "loop": lambda *given: None},
        r"its loop never asks for the objective, .* or call objective\(...\)",
    ),
    (
        {"schedule": per_step(partial(OneCycleLR, max_lr=0.1, total_steps=1)), "batch_size": 5},
        "OneCycleLR refused a step: .* It is stepped once an update: give it as many steps",
    ),
    ({"optimizer": Grouped(ADAM, lr_factors={"bais": 0.1})}, "^Grouped: the pattern 'bais' .* Did you mean 'bias'.$"),
    (
        {"loop": lambda model, optimizer, batches, objective: objective(model, next(batches))},
        r"The loop called objective\(model, batch\), but CrossEntropyLoss is a plain loss. Call it with \(output, targ",
    ),
    (
        {"loop": lambda model, optimizer, batches, objective: objective(X, Y), "objective": marked(each)},
        r"The loop called objective with \(37, 5\) float32 first, .* Call it with \(model, batch\)",
    ),
    (
        {"objective": WeightedLoss(nn.CrossEntropyLoss())},
        r"but it needs \(x, \(y, weight\)\). Give the split as train=",
    ),
    (
        {
            "loop": lambda model, optimizer, batches, objective: objective(model(X), Y),
            "penalty": lambda model: model.weight,
        },
        r"The penalty .* returned \(3, 5\) float32, but it is added to the loss: it gives one number",
    ),
    (
        {"data": Splits(train=STREAM, validation=STREAM), "judge": nn.CrossEntropyLoss(reduction="none")},
        r"returned \(32,\) float32, but a plain loss returns one scalar. Take its mean",
    ),
    ({"batchsize": 3}, "A recipe has no field 'batchsize'. Did you mean 'batch_size'"),
    ({"data": (X, Y)}, "data is tuple, not Splits. Give the splits by name"),
]


@pytest.mark.parametrize(("changes", "expected"), REFUSED, ids=[expected[:40] for _, expected in REFUSED])
def test_a_recipe_that_cannot_be_trained(changes: dict[str, Any], expected: str) -> None:
    import re

    assert re.search(expected, message(RecipeError, **changes), re.DOTALL | re.IGNORECASE)


UNUSABLE: list[tuple[Any, str]] = [
    ((X[:0], Y[:0]), "The train split is empty"),
    ((X, Y[:30]), r"holds \(\(37, 5\) float32, \(30,\) int64\), whose tensors do not share axis 0"),
    ((X, np.array(["a", "b"] * 18 + ["c"])), "array of <U1 .first value .'a'.., but a network needs numbers"),
    (
        (X.index_fill(1, torch.tensor([2]), float("nan")), Y),
        r"37 values that are not finite \(NaN\): rows 0, .* column 2",
    ),
    ((X, Y.float() / 0), r"train targets hold 37 values that are not finite"),
    (((a, b) for a, b in zip(X, Y, strict=True)), "a generator that can be read only once"),
    (7, "The train split is a int, but a split is a pair"),
    ("houses.csv", "The train split is the text 'houses.csv', .* thalweg train FILE --target COLUMN"),
    ([(x, None) for x in X], "found .*NoneType.* Have an example give tensors, arrays or numbers, or make the batch"),
    (([X, X], Y), r"several inputs are a tuple, \(\(a, b\), y\), not a list"),
    ([], "The train split is empty: a list of length 0"),
    (([torch.ones(2 + i % 3) for i in range(N)], Y), "Examples of different lengths need a `collate`"),
    (([torch.ones(2 + i % 3) for i in range(N)], Y[:9]), r"has columns of lengths \[9, 37\]"),
]


@pytest.mark.parametrize(("split", "expected"), UNUSABLE, ids=[expected[:40] for _, expected in UNUSABLE])
def test_data_that_cannot_be_used(split: Any, expected: str) -> None:
    import re

    assert re.search(expected, message(DataError, data=Splits(train=split)))


def test_a_missing_train_split_and_a_bare_tensor() -> None:
    with pytest.raises(DataError, match="there is nothing to train on"):
        Splits(train=None)
    with pytest.raises(DataError, match=r"Splits\(test=...\) is a single tensor, .* give test=\(x, y\)"):
        Splits(train=(X, Y), test=X)
    with pytest.raises(DataError, match=r"Splits\(validation=...\) is a single array, .* give validation=\(x, y\)"):
        Splits(train=(X, Y), validation=X.numpy())


def test_a_stream_that_is_spent_is_found_in_the_second_epoch() -> None:
    class Spent(torch.utils.data.IterableDataset[Any]):
        rows = iter(zip(X, Y, strict=True))

        def __iter__(self) -> Any:
            return self.rows

    with pytest.raises(DataError, match="gave no batch in epoch 2. It must give its examples anew"):
        thalweg.train(recipe(data=Splits(train=Spent()), epochs=2))


def test_the_split_that_does_not_fit_is_named_before_training() -> None:
    assert message(RecipeError, data=Splits(train=(X, Y), validation=(X[:, :4], Y))).startswith(
        "In the validation split:"
    )


def test_a_mask_that_selects_nothing() -> None:
    weighted = marked(lambda model, batch: Losses(each(model, (batch[0], batch[1][0])), weight=batch[1][1]))
    run = thalweg.train(recipe(data=Splits(train=(X, (Y, torch.ones(N)))), objective=weighted))
    with pytest.raises(DataError, match="All weights of the split are 0"):
        thalweg.evaluate(run, (X, (Y, torch.zeros(N))))


class Rows:
    """A source of our own; each argument is what one of its methods does."""

    def __init__(self, take: Any = None, meta: Any = None, fit: Any = None) -> None:
        self.answers = {"take": take or (lambda ids: self), "meta": meta or (lambda ids: {}), "fit": fit or self.own}

    def own(self, ids: Any) -> Any:
        return self

    def __len__(self) -> int:
        return N

    def batches(self, epoch: int, start: int, generator: Any) -> Any:
        yield X, Y

    def take(self, ids: Any) -> Any:
        return self.answers["take"](ids)

    def meta(self, ids: Any) -> Any:
        return self.answers["meta"](ids)

    def fit(self, train_ids: Any) -> Any:
        return self.answers["fit"](train_ids)


class Empty(Rows):
    def batches(self, epoch: int, start: int, generator: Any) -> Any:
        yield from ()


class Short(Rows):
    def batches(self, epoch: int) -> Any:  # type: ignore[override]
        yield X, Y


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            Rows(take=lambda ids: (X, Y)),
            r"Rows.take returned .*a tuple, .* a source again, with batches, take and __len__",
        ),
        (Rows(fit=lambda ids: None), "Rows.fit returned NoneType, .* a source again"),
        (
            Rows(meta=lambda ids: {"group": [1, 2]}),
            "Rows.meta gave 2 values of 'group' for 37 examples. Give one for each",
        ),
        (Short(), r"Short.batches cannot be called with \(epoch, start, generator\)"),
    ],
)
def test_an_own_source_that_keeps_its_protocol_in_name_only(source: Any, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        thalweg.cross_validate(recipe(data=Splits(train=source)), folds=3)


def test_an_own_source_without_batches() -> None:
    assert message(DataError, data=Splits(train=Empty())) == (
        "The train split gave no batch. It needs at least one example."
    )


def test_a_class_that_appears_only_in_validation_is_said() -> None:
    splits = Splits(train=(X[Y < 2], Y[Y < 2]), validation=(X, Y))
    assert thalweg.train(recipe(data=splits, batch_size=5)).notices == (
        "Classes that appear only in validation, never in train, cannot be learned: 2.",
    )


def test_a_plain_loss_needs_pairs() -> None:
    loader = torch.utils.data.DataLoader([{"x": x, "y": y} for x, y in zip(X, Y, strict=True)], batch_size=5)
    assert "but a plain loss needs a pair (x, y)" in message(RecipeError, data=Splits(train=loader))


def test_a_metric_of_outputs_needs_pairs_and_that_is_found_before_training() -> None:
    dicts = [{"x": x, "y": y} for x, y in zip(X, Y, strict=True)]
    named = marked(lambda model, batch: each(model, (batch["x"], batch["y"])))
    with pytest.raises(
        RecipeError, match=r"^In the train split: The metric 'a' is a function of .*, but a batch is \{x:"
    ):
        thalweg.train(recipe(data=Splits(train=dicts), objective=named, metrics={"a": cross_entropy}))
    assert "A batch is NoneType" in message(RecipeError, data=Splits(train=dicts), collate=lambda examples: None)


def test_a_recipe_is_compared_with_a_recipe() -> None:
    with pytest.raises(RecipeError, match="compared with int, but it is compared with a recipe"):
        recipe().difference(3)  # type: ignore[arg-type]


def test_unknown_devices() -> None:
    with pytest.raises(RecipeError, match="There is no device 'gpu'. Did you mean 'cpu'"):
        thalweg.train(recipe(), device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(RecipeError, match="The device 'cuda:1' is not here"):
            thalweg.train(recipe(), device="cuda:1")


def test_a_patience_below_one() -> None:
    with pytest.raises(RecipeError, match="patience=0, but the rule waits for at least 1 epoch"):
        EarlyStopping(0)


def test_other_doors_refuse_what_is_no_recipe() -> None:
    with pytest.raises(RecipeError, match="train was given dict, but it trains a thalweg.Recipe"):
        thalweg.train({})  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="cross_validate was given Run, but it trains a thalweg.Recipe"):
        thalweg.cross_validate(thalweg.train(recipe()))  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="Recipe was given Splits.* without a name. Say which field it is"):
        Recipe(Splits(train=(X, Y)))
    with pytest.raises(RecipeError, match="A recipe needs objective. Give a loss"):
        Recipe(data=Splits(train=(X, Y)), model=partial(nn.Linear, 5, 3))
    with pytest.raises(RecipeError, match="a loss that has a reduction, not cross_entropy. Give a module"):
        WeightedLoss(cross_entropy)
    with pytest.raises(RecipeError, match="folds=1, but cross-validation needs a whole number of at least 2"):
        thalweg.cross_validate(recipe(), folds=1)


def test_the_original_error_stays_behind_the_friendly_one() -> None:
    with pytest.raises(RecipeError) as caught:
        thalweg.train(recipe(model=lambda: nn.Linear(6, 3)))
    assert isinstance(caught.value.__cause__, RuntimeError)
