"""Kinds: a setting of the wrong kind is one line that names the place, the key, the value, and what it may be."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg import EarlyStopping, RecipeError
from thalweg.core.kinds import at_fault, check_arguments, kind_of
from thalweg.loss import L1, L2
from thalweg.optim import Cosine, Exponential, Grouped, InverseSquareRoot, StepDecay, WarmUp

if TYPE_CHECKING:
    from fractions import Fraction


# --- annotations ---


@pytest.mark.parametrize(
    ("annotation", "words", "of_it", "not_of_it"),
    [
        (int, "a whole number", [3, -1], [3.0, True, "3", None]),
        (float, "a number", [3, 0.5, float("inf")], [True, "0.5", None]),
        (bool, "true or false", [True], [1, "true"]),
        (str | None, "text or none", ["a", None], [1]),
        (float | Tensor, "a number", [0.5, torch.ones(1)], ["a"]),
        (int | float, "a number", [1, 0.5], ["a"]),
        (int | str | None, "a whole number, text or none", [1, "a", None], [0.5]),
        (tuple[float, float], "a list of 2 numbers", [[1, 2], (0.9, 0.99)], [[1], 3, "ab", ["a", "b"]]),
        (list[str], "a list of texts", [["a"], []], ["a", [1]]),
        (dict[str, float], "a table of numbers", [{"a": 1}], [{"a": "b"}, 3]),
        (Literal["mean", "sum"], "'mean' or 'sum'", ["sum"], ["max"]),
        (Callable[..., Any], "a function", [len], [3]),
        (nn.Module, "a Module", [nn.Identity()], [3]),
        (Any, "anything", [3, None], []),
        ("Unknown", "anything", [3, None], []),
    ],
)
def test_a_kind_is_read_from_an_annotation(annotation: Any, words: str, of_it: list[Any], not_of_it: list[Any]) -> None:
    kind = kind_of(annotation)
    assert kind.one == words
    assert all(map(kind.holds, of_it))
    assert not any(map(kind.holds, not_of_it))


def test_a_default_may_be_given_again_and_what_is_not_annotated_may_be_anything() -> None:
    def net(width: int = None, height=3, *, third: "Fraction | None" = None, **more: Any) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    check_arguments(net, {"width": None, "height": "high", "third": 1, "fourth": 4})


def test_what_is_missing_is_named_with_what_it_may_be() -> None:
    with pytest.raises(RecipeError, match="L2 needs strength, a number. Give for instance strength=0.1."):
        check_arguments(L2, {})


def test_the_argument_at_fault_is_the_one_that_is_named_or_without_which_all_is_well() -> None:
    sgd = partial(torch.optim.SGD, [torch.zeros(1, requires_grad=True)])
    assert at_fault(sgd, {"lr": 0.1, "momentum": -1}, "Invalid momentum value: -1") == "momentum"
    assert at_fault(sgd, {"lr": -1, "momentum": -1}, "both are wrong") is None
    assert at_fault(sgd, {"lr": 0.1, "momentum": 0.9}, "lr is 0.1") == "lr"


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (
            lambda: EarlyStopping(patience=2.5),
            "EarlyStopping: patience is 2.5, but it must be a whole number. Give for",
        ),
        (lambda: EarlyStopping(min_delta="x"), "EarlyStopping: min_delta is 'x', but it must be a number."),
        (
            lambda: EarlyStopping(min_delta=-1.0),
            "min_delta=-1.0, but progress is a fall of the loss, at least 0. Give 0.0",
        ),
        (lambda: L2("a"), "L2: strength is 'a', but it must be a number. Give for instance strength=0.1."),
        (lambda: L1(0.1, biases="no"), "L1: biases is 'no', but it must be true or false."),
        (lambda: Cosine("low"), "Cosine: floor is 'low', but it must be a number. Give for instance floor=0.0."),
        (lambda: StepDecay("x"), "StepDecay: every is 'x', but it must be a number."),
        (lambda: Exponential("x"), "Exponential: rate is 'x', but it must be a number."),
        (lambda: InverseSquareRoot("x"), "InverseSquareRoot: warmup is 'x', but it must be a number."),
        (lambda: WarmUp(0.1, then=3), "WarmUp: then is 3, but it must be a function."),
        (lambda: Grouped(3), "Grouped: factory is 3, but it must be a function."),
    ],
)
def test_a_piece_of_the_wrong_kind_is_refused_in_python_too(build: Callable[[], Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        build()


# --- settings ---

TOML = '[data]\nsource = "rows.csv"\ntarget = "b"\n'
NUMBER = "but it must be a number. Give for instance"
WHOLE = "but it must be a whole number. Give for instance"


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("a,b\n" + "".join(f"{i % 7},{'xy'[i % 2]}\n" for i in range(40)))
    return tmp_path


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["stopping.min_delta=x"], f"EarlyStopping: min_delta is 'x', {NUMBER} min_delta=0.0"),
        (["stopping.patience=2.5"], f"EarlyStopping: patience is 2.5, {WHOLE} patience=5"),
        (["optimizer.lr=-1"], "optimizer.lr = -1 is refused by Adam: Invalid learning rate: -1. Give another value"),
        (["optimizer.lr=nan"], "optimizer.lr = nan is refused by Adam: Invalid learning rate: nan."),
        (["optimizer.lr=fast"], f"Adam: lr is 'fast', {NUMBER} lr=0.001"),
        (["optimizer.lr=''"], "Adam: lr is '', but it must be a number."),
        (
            ["optimizer.betas=3"],
            r"Adam: betas is 3, but it must be a list of 2 numbers. Give for .* betas=\[0.9, 0.999\]",
        ),
        (["optimizer.betas=[2, 1]"], r"optimizer.betas = \[2, 1\] is refused by Adam: Invalid beta"),
        (["optimizer.lr_factors=3"], "Grouped: lr_factors is 3, but it must be a table of numbers."),
        (["optimizer.decay_norms_and_biases=3"], "decay_norms_and_biases is 3, but it must be true or false."),
        (["optimizer.kind=sgd", "optimizer.nesterov=true"], "optimizer.nesterov = True is refused by SGD: Nesterov"),
        (["model.dropout=x"], f"mlp: dropout is 'x', {NUMBER} dropout=0.0"),
        (["model.dropout=2.0"], "mlp: dropout is 2.0, but it is the share of units to silence, at least 0 and"),
        (["model.pretrained=3"], "pretrained is 3, but it must be text or none."),
        (["objective.label_smoothing=x"], "Categorical: label_smoothing is 'x', but it must be a number."),
        (["objective.class_weights=x"], "Categorical: class_weights is 'x', but it must be a list of numbers or none."),
        (
            ["objective.reduction=sum"],
            "the objective 'categorical' has no argument 'reduction'. Known: class_weights, label",
        ),
        (["penalty=l2", 'penalty.strength="a"'], f"L2: strength is 'a', {NUMBER} strength=0.1"),
        (["penalty=l2"], "L2 needs strength, a number. Give for instance strength=0.1."),
        (["schedule=cosine", "schedule.floor=x"], f"Cosine: floor is 'x', {NUMBER} floor=0.0"),
        (
            ["schedule=warm_up", "schedule.length=1", "schedule.then=3"],
            "then is 3, but it is the name of a schedule, or a",
        ),
        (["epochs=1.5"], f"fit: epochs is 1.5, {WHOLE} epochs=30"),
        (["epochs=none"], f"fit: epochs is None, {WHOLE} epochs=30"),
        (["seed=x"], f"fit: seed is 'x', {WHOLE} seed=0"),
        (["batch_size=-1"], "batch_size=-1, but it is a whole number of at least 1, or None for the whole split"),
        (["metrics=3"], "fit: metrics is 3, but it must be text, a list of texts or none."),
        (["data.header=no"], r"\[data\]: header is 'no', but it must be true or false."),
        (["data.test_share=half"], r"\[data\]: test_share is 'half', but it must be a number."),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_setting_of_the_wrong_kind_is_named(assignments: list[str], said: str, rows: Path) -> None:
    with pytest.raises(RecipeError, match=f"^--set {assignments[-1].partition('=')[0]}=.*: .*{said}"):
        thalweg.load("rows.csv", data={"target": "b"}, assignments=assignments)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('[stopping]\npatience = "x"', f"EarlyStopping: patience is 'x', {WHOLE}"),
        ("[fit]\nseed = 1.5", f"fit: seed is 1.5, {WHOLE}"),
        ('[fit]\nbatch_size = "half"', "fit: batch_size is 'half', but it must be a whole number or none."),
        ("[fit]\nbatch_size = 0", "batch_size=0, but it is a whole number of at least 1"),
        ("[fit]\nepochs = -1", "epochs=-1, but it is a whole number of at least 0"),
        ("[fit]\nmetrics = [3]", r"fit: metrics is \[3\], but it must be text"),
        ('[model]\nwidth = "x"', f"mlp: width is 'x', {WHOLE}"),
        ("[optimizer]\nlr = -1", "optimizer.lr = -1 is refused by Adam"),
    ],
)
def test_a_file_is_named_with_the_line(lines: str, said: str, rows: Path) -> None:
    (rows / "recipe.toml").write_text(TOML + lines + "\n")
    with pytest.raises(RecipeError, match=f"^recipe.toml, line 5: {said}"):
        thalweg.load("recipe.toml")


def test_none_is_written_none_in_a_file_as_after_set(rows: Path) -> None:
    (rows / "recipe.toml").write_text(TOML + '[fit]\nbatch_size = "none"\nmetrics = "none"\nepochs = 1\n')
    recipe = thalweg.load("recipe.toml")
    assert recipe.batch_size is None
    assert "accuracy" in recipe.metrics
    assert thalweg.train(recipe).status is thalweg.Outcome.FINISHED


# --- recipes in Python ---

X = torch.linspace(-1, 1, 20)[:, None]
PIECES = {
    "data": thalweg.Splits(train=(X, X), validation=(X, X)),
    "model": partial(nn.Linear, 1, 1),
    "objective": nn.MSELoss(),
    "epochs": 1,
    "batch_size": 5,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"optimizer": partial(torch.optim.Adam, lr="x")},
            r"optimizer=Adam\(lr='x'\): Adam: lr is 'x', but it must be a",
        ),
        (
            {"optimizer": partial(torch.optim.Adam, lr=-1)},
            r"optimizer=Adam\(lr=-1\) is refused: Invalid .* another lr.",
        ),
        ({"optimizer": partial(torch.optim.Adam, rate=1)}, r"optimizer=Adam\(rate=1\): Adam has no argument 'rate'"),
        ({"optimizer": "adam"}, "optimizer='adam' cannot be called. Give a factory"),
        ({"schedule": 3}, "schedule=3 cannot be called. Give a function"),
        ({"metrics": ["accuracy"]}, r"metrics=\['accuracy'\] is no dict of names and metrics. Give each a name"),
        ({"metrics": {3: len}}, r"metrics={3: len} is no dict of names and metrics."),
        ({"penalty": 0.1}, "penalty=0.1 cannot be called. Give a function of the model"),
        ({"penalty": L2}, r"penalty is the class L2, not a penalty. Make one: L2\(...\)."),
        (
            {"penalty": lambda model: "much"},
            "The penalty <lambda> returned str, but it is added to the loss: it gives one",
        ),
        ({"penalty": lambda model: torch.ones(3)}, r"returned \(3,\) float32, .* for instance model.weight.square"),
        ({"penalty": lambda model, x: 0.0}, "penalty=lambda .*asks for 2 arguments. Give a function of the model that"),
        ({"judge": "x"}, "judge='x' cannot be called. Give a loss"),
        ({"judge": nn.MSELoss}, r"judge is the class MSELoss, not a loss. Make one: MSELoss\(...\)."),
        ({"stopping": EarlyStopping}, "stopping is the class EarlyStopping, not a rule."),
        (
            {"stopping": lambda history, more: True},
            "stopping=lambda .*asks for 2 arguments. Give a rule history -> bool",
        ),
        ({"epochs": 1.0}, "epochs=1.0, but it is a whole number of at least 0"),
        ({"batch_size": -1}, "batch_size=-1, but it is a whole number of at least 1"),
        ({"seed": 1.5}, "seed=1.5, but a seed is a whole number"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_field_of_the_wrong_kind_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        thalweg.train(thalweg.Recipe(**(PIECES | changes)))
    assert "\n" not in str(caught.value)
