r"""Objectives: what training minimizes, in one form.

A plain loss is `(output, target) -> scalar`, and training minimizes exactly that scalar. A marked objective is
`(model, batch, moment) -> Losses(value, weight, unit)`, with one value for each example; training minimizes their
weighted mean

$$ L = \sum_i w_i \ell_i / \sum_i w_i. $$

Weights are tokens, or nodes by a mask, or the importance of an example; `unit` names the cluster an example belongs to
(a sentence, a speaker), which intervals resample whole.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MethodType, NoneType
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from thalweg.core.errors import RecipeError
from thalweg.core.nest import Nest, count_examples, describe
from thalweg.core.signature import argument_names, required_arguments

Function = TypeVar("Function", bound=Callable[..., Any])


class Losses(NamedTuple):
    """Values of a batch, `(batch,)`, with their weights and units; a 0-dimensional value is a loss already reduced.

    >>> Losses(torch.tensor([1.0, 4.0]), weight=torch.tensor([3.0, 1.0])).mean()
    tensor(1.7500)
    """

    value: Tensor
    weight: Tensor | float | None = None
    unit: Tensor | None = None

    def mean(self) -> Tensor:
        """The weighted mean; 0 where all weights are 0, so that a batch of padding does not break training."""
        if self.value.dim() == 0:
            return self.value
        if not isinstance(self.weight, Tensor):
            return self.value.mean()
        value = self.value.float() if self.value.dtype in (torch.bfloat16, torch.float16) else self.value
        weight = self.weight.to(value.dtype)
        total = weight.sum()
        return (torch.where(weight != 0, value, 0) * weight).sum() / torch.where(total != 0, total, 1)

    def total_weight(self) -> Tensor | float:
        """What this batch counts in a mean over batches: the sum of its weights, else its number of values."""
        if isinstance(self.weight, Tensor):
            return self.weight.detach().sum()
        return float(self.value.numel()) * (1.0 if self.weight is None else self.weight)


@dataclass
class Moment:
    """When an objective is asked: what scheduled sampling decays by, and what a sampled reward draws from.

    `step` counts updates from 0, `steps` is their number (None for a stream of unknown length), `epoch` counts from 1.

    >>> moment = Moment(step=30, steps=120, training=True)
    >>> moment.step / moment.steps
    0.25
    """

    step: int = 0
    steps: int | None = None
    epoch: int = 0
    training: bool = False
    generator: torch.Generator | None = None


def objective(function: Function) -> Function:
    """Mark `(model, batch, moment) -> Losses` (or two arguments, or a bare tensor of values) as an objective.

    >>> @objective
    ... def token_loss(model, batch):
    ...     x, y, lengths = batch
    ...     values = nn.functional.cross_entropy(model(x).mT, y, reduction="none").mean(1)
    ...     return Losses(values, weight=lengths)
    >>> is_objective(token_loss), is_objective(nn.MSELoss())
    (True, False)
    """
    if not callable(function):
        raise RecipeError(f"@objective marks a function (model, batch, moment) -> Losses, not {function!r}.")
    marked: Any = partial(function) if isinstance(function, MethodType) else function
    marked.thalweg_objective = True
    return marked


def is_objective(function: Any) -> bool:
    """Whether `function` was marked by `@objective` (a bound method or `partial` of a marked one counts)."""
    inner = getattr(function, "func", function)
    return bool(getattr(function, "thalweg_objective", False) or getattr(inner, "thalweg_objective", False))


def apply(model: nn.Module, x: Nest) -> Any:
    """The model's output: `model(x)` for a tensor, `model(*x)` for a tuple, `model(**x)` for a dict.

    >>> apply(nn.Bilinear(2, 3, 1), (torch.ones(5, 2), torch.ones(5, 3))).shape
    torch.Size([5, 1])
    """
    if isinstance(x, Mapping):
        return model(**x)
    if isinstance(x, tuple) and not isinstance(x, PackedSequence):
        return model(*x)
    return model(x)


def pair(batch: Nest) -> tuple[Nest, Nest]:
    """`(x, y)` of a batch, or an error that says what came instead."""
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    raise RecipeError(
        f"A batch is {describe(batch)}, but a plain loss needs a pair (x, y). Either group the inputs in a tuple or a "
        "dict, ((a, b), y), in the split or by a `collate`, or mark the loss with @thalweg.objective and take the "
        "batch as it comes: (model, batch) -> values."
    )


@dataclass(frozen=True)
class PlainLoss:
    """A plain loss `(output, target) -> scalar` in the form of an objective."""

    loss: Callable[[Any, Any], Tensor]

    @property
    def inner(self) -> Any:
        """The loss itself."""
        return self.loss

    def around(self, loss: Any) -> "PlainLoss":
        """The same form around another loss."""
        return PlainLoss(loss)

    def __call__(self, model: nn.Module, batch: Nest, moment: Moment) -> Losses:
        x, y = pair(batch)
        return Losses(self.scalar(apply(model, x), y), weight=float(count_examples((y, x))))

    def scalar(self, output: Any, target: Nest) -> Tensor:
        """The loss of a batch as the one number that training minimizes.

        Raises `RecipeError` where it is no scalar tensor.
        """
        value = self.loss(output, target)
        if not isinstance(value, Tensor) or value.numel() != 1:
            mend = (
                "Take its mean (reduction='mean'), or mark it with @thalweg.objective to give a value for each example."
                if isinstance(value, Tensor)
                else "Keep the tensor, whose gradient trains the model: no .item(), no float(...)."
            )
            raise RecipeError(
                f"The loss {name_of(self.loss)} returned {describe(value)}, but a plain loss returns one scalar"
                f"{'' if isinstance(value, Tensor) else ' tensor'}. {mend}"
            )
        return value.reshape(())


@runtime_checkable
class OfOutput(Protocol):
    """An objective that takes nothing of the model but its output for x, and can be given that instead of the model.

    Where metrics read the output too, the model is then asked once for all of them.
    """

    def of_output(self, output: Any, target: Nest, moment: Moment) -> Losses:
        """The losses of a batch `(x, target)` whose output is known."""
        ...


@dataclass(frozen=True)
class MarkedObjective:
    """A function marked by `@objective`, called with as many arguments as it takes, its answer made `Losses`."""

    function: Callable[..., Any]
    arguments: int

    @property
    def inner(self) -> Any:
        """The function itself."""
        return self.function

    def around(self, function: Any) -> "MarkedObjective":
        """The same form around another function."""
        return MarkedObjective(function, self.arguments)

    def __call__(self, model: nn.Module, batch: Nest, moment: Moment) -> Losses:
        answer = self.function(*(model, batch, moment)[: self.arguments])
        losses = answer if isinstance(answer, Losses) else Losses(answer)
        return self._checked(losses, batch)

    def of_output(self, output: Any, batch: Nest, moment: Moment) -> Losses | None:
        """The answer for a batch whose output is known; None where it takes more of the model than that."""
        if not isinstance(self.function, OfOutput):
            return None
        return self._checked(self.function.of_output(output, pair(batch)[1], moment), batch)

    def _checked(self, losses: Losses, batch: Nest) -> Losses:
        value, weight, unit = losses
        if not isinstance(value, Tensor) or value.dim() > 1:
            mend = (
                "Take the mean over the other axes, for instance values.flatten(1).mean(1)."
                if isinstance(value, Tensor)
                else "Return a tensor of values, or thalweg.Losses(value, weight, unit)."
            )
            raise RecipeError(
                f"The objective {name_of(self.function)} returned {describe(value)}, but it gives one value for each "
                f"example, shape (batch,). {mend}"
            )
        for name, other in (("weight", weight), ("unit", unit)):
            if not isinstance(other, Tensor | NoneType) and not (name == "weight" and isinstance(other, int | float)):
                raise RecipeError(
                    f"The objective {name_of(self.function)} returned a {name} that is a {type(other).__name__}, but "
                    f"it is a tensor of the values' shape, {tuple(value.shape)}. Give torch.as_tensor({name})."
                )
            if isinstance(other, Tensor) and other.shape != value.shape:
                raise RecipeError(
                    f"The objective {name_of(self.function)} returned {name} {describe(other)} for values "
                    f"{describe(value)}; both need the same shape, one {name} for each value."
                )
        return Losses(value, float(count_examples(batch)), None) if value.dim() == 0 and weight is None else losses


def counted_targets(loss: Any, target: Nest) -> Tensor | None:
    """What each class number counts in a loss's mean: its class's weight, 0 where it is ignored; None for no classes.

    >>> counted_targets(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0])), torch.tensor([0, 1, -100]))
    tensor([1., 3., 0.])
    """
    if not isinstance(target, Tensor) or target.is_floating_point():
        return None
    weights = setting_of(loss, "class_weights")
    if not isinstance(weights, Tensor):
        weights = setting_of(loss, "weight")
    ignored = setting_of(loss, "ignore_index")
    counted = target != (-100 if ignored is None else ignored)
    if isinstance(weights, Tensor) and weights.dim() == 1:
        return torch.where(counted, weights.to(target.device)[target.clamp(0, len(weights) - 1).long()], 0)
    return counted.to(torch.get_default_dtype())


def setting_of(loss: Any, name: str) -> Any:
    """A setting of a loss: of a module its attribute, of a `functools.partial` what is bound; None where there is none.

    >>> setting_of(partial(nn.functional.cross_entropy, ignore_index=0), "ignore_index")
    0
    """
    return loss.keywords.get(name) if isinstance(loss, partial) else getattr(loss, name, None)


def as_objective(function: Any) -> "PlainLoss | MarkedObjective":
    """Any loss or marked objective in the one form `(model, batch, moment) -> Losses`.

    >>> model, batch = nn.Linear(3, 1), (torch.ones(5, 3), torch.ones(5, 1))
    >>> as_objective(nn.MSELoss())(model, batch, Moment()).total_weight()
    5.0
    """
    if isinstance(function, PlainLoss | MarkedObjective):
        return function
    if not is_objective(function):
        if argument_names(function)[:1] in (["model"], ["net"]):
            raise RecipeError(
                f"{name_of(function)} takes a model, so it is an objective (model, batch) -> values and no plain loss. "
                "Mark it: @thalweg.objective."
            )
        if (count := required_arguments(function)) > 2:
            raise RecipeError(
                f"{name_of(function)} asks for {count} arguments, but a plain loss is called with (output, target). "
                "Bind the others with functools.partial, or mark an objective (model, batch, moment) with "
                "@thalweg.objective."
            )
        return PlainLoss(function)
    count = required_arguments(function)
    if count == 2 and "moment" in argument_names(function):
        count = 3
    if count not in (2, 3):
        raise RecipeError(
            f"The objective {name_of(function)} takes {count} arguments, but it is called with (model, batch) or "
            "(model, batch, moment). Bind the others with functools.partial."
        )
    return MarkedObjective(function, count)


def name_of(function: Any) -> str:
    """A short name for messages: `CrossEntropyLoss`, `my_loss`."""
    inner = getattr(function, "func", function)
    return getattr(inner, "__qualname__", None) or type(inner).__name__


def reads_classes(loss: Any) -> bool:
    """Whether a loss reads scores of classes, by its name.

    >>> reads_classes(nn.CrossEntropyLoss()), reads_classes(nn.MSELoss())
    (True, False)
    """
    return re.search("CrossEntropy|NLL|Categorical", name_of(loss)) is not None
