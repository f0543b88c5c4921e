"""Opening an error surface: the model is laid out for second derivatives, looked at, and put back as it was."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.device import available
from thalweg.core.errors import DataError, RecipeError, ThalwegError
from thalweg.core.nest import count_examples
from thalweg.core.objective import name_of
from thalweg.core.step import Step
from thalweg.core.threads import counting, fitting_threads
from thalweg.measure.curvature.evaluation import Part, cut, joined, place, read_batches
from thalweg.measure.curvature.settings import differentiable, in_format, mode_of, trainable
from thalweg.measure.curvature.surface import Saved, Surface, close
from thalweg.measure.looking import as_module, looking

STILL = 1e-6
"""The relative difference of two passes that are still called the same; sums over threads may differ in last bits."""
JOINED = 512
"""Batches are joined up to about so many examples."""
SAMPLE = 64
"""From so many examples the room is known that a graph of all would take."""

Decay = float | Mapping[str, float]
Pass = tuple[float, Tensor, Tensor]


@contextmanager
def surface(
    model: nn.Module,
    objective: Any,
    batches: Any,
    *,
    penalty: Any = None,
    weight_decay: Decay = 0.0,
    training: bool = False,
    dtype: torch.dtype | None = None,
) -> Iterator[Surface]:
    """The error surface around the model's weights; afterwards the model is as it was found.

    `weight_decay` is a number, or one for each parameter by name; `dtype` None is float32, or float64 where the model
    has it. Raises `RecipeError` for a model or objective that cannot be differentiated twice, or whose loss differs
    from pass to pass, and `DataError` for a loss that is not finite and for an evaluation set without examples.

    >>> model = nn.Linear(1, 1)
    >>> with surface(model, nn.MSELoss(), (torch.ones(4, 1), torch.ones(4, 1)), weight_decay=1.0) as at:
    ...     at.product(torch.tensor([1.0, 0.0]))  # of the weight, by which the bias is moved too
    tensor([3., 2.])
    """
    parameters = trainable(as_module(model))
    if not callable(objective):
        raise RecipeError(
            f"The objective is {objective!r}, but it is a loss (output, target) or one marked by @thalweg.objective. "
            "Give for instance nn.CrossEntropyLoss()."
        )
    found = torch.float64 if any(p.dtype == torch.float64 for p in parameters.values()) else torch.float32
    dtype = found if dtype is None else dtype
    with looking(model):
        read = read_batches(batches)
        with differentiable(model, training), in_format(model, dtype):
            step = Step(model, objective, penalty)
            for piece in (step.objective.inner, step.penalty):
                if isinstance(piece, nn.Module):
                    piece.to(next(iter(parameters.values())).device, dtype)
            device = next(iter(parameters.values())).device
            parts = [Part(place(batch, device, dtype), 0.0) for batch in read]
            at = Surface(
                step,
                parameters,
                parts,
                _decay(weight_decay, parameters, dtype),
                training,
                mode_of(model, training),
                _room(device),
            )
            with explained(at, "be computed over this evaluation set"), counting(model) as work:
                at.parts = _weighed(at)
            with fitting_threads(work.total // len(at.parts)):
                with explained(at, "be differentiated twice"):
                    at.parts = [piece for part in _merged(at) for piece in _fitting(at, part)]
                    passes = [_pass(at) for _ in range(2)]
                    check_twice(at)
                check_still(at, *passes)
                try:
                    yield at
                finally:
                    at.forget()


@contextmanager
def explained(at: Surface, what: str) -> Iterator[None]:
    """What torch says where a model cannot be computed, or not be differentiated twice, as a `RecipeError`."""
    try:
        yield
    except ThalwegError:
        raise
    except (RuntimeError, NotImplementedError, IndexError, TypeError, ValueError) as error:
        if "out of memory" in str(error):
            raise
        mend = "layers and losses whose gradient has a gradient" if "twice" in what else "batches that the model reads"
        raise RecipeError(
            f"{name_of(at.step.objective.inner)} of this model cannot {what}: {str(error).splitlines()[0][:200]} Take "
            f"{mend}."
        ) from error


def check_twice(at: Surface) -> None:
    """Refuse a function marked once-differentiable, which torch would pass over as if it were constant."""
    with torch.enable_grad():
        loss = at._bare(at.parts[0].batch)
    if not loss.requires_grad and at.step.penalty is None:
        raise RecipeError(
            f"{name_of(at.step.objective.inner)} has no gradient in the model's parameters: there is no error surface. "
            "Give the loss that was trained, not a metric."
        )
    gradients = at.kept[0] if 0 in at.kept else at._gradients(loss)
    waiting: list[Any] = [gradient.grad_fn for gradient in gradients if gradient is not None]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().endswith("Error"):
            raise NotImplementedError("a function of it is marked once_differentiable.")
        waiting += [following for following, _ in node.next_functions]


def _pass(at: Surface) -> Pass:
    """The objective, its gradient and a product, from new graphs."""
    at.forget()
    probe = torch.ones(at.size, dtype=at.dtype, device=at.device) / math.sqrt(at.size)
    return at.value(), at.gradient(), at.product(probe)


def check_still(at: Surface, one: Pass, other: Pass) -> None:
    """Two passes must agree before any curvature; the second's graphs are kept.

    Raises `RecipeError` where they do not, `DataError` where they are not finite.
    """
    at.products = 0
    (first, g, h), (second, again, product) = one, other
    if not all(bool(torch.isfinite(each).all()) for each in (torch.tensor(first), g, h)):
        raise DataError(
            f"At these weights the objective is {first:g} and its derivatives are not all finite, so there is no "
            "curvature. Take weights from before training diverged, and data without NaN."
        )
    apart = max(float((g - again).norm()), float((h - product).norm()))
    if not close(first, second, STILL) or apart > 1e3 * STILL * max(float(g.norm()), float(h.norm()), 1e-30):
        raise RecipeError(
            f"The objective is {first!r} in one pass and {second!r} in the next, at the same weights ({at.mode}); "
            "curvature needs one value. Leave dropout off (training=False), and draw samples from moment.generator."
        )


def _weighed(at: Surface) -> list[Part]:
    """The parts with their weights; those of weight 0 (all padding) are left out."""
    with torch.no_grad():
        parts = [Part(part.batch, at._measured(part.batch)[1]) for part in at.parts]
    counted = [part for part in parts if part.weight > 0]
    if not counted:
        raise DataError("The weights of all examples of the evaluation set are 0. Give at least one that counts.")
    return counted


def _merged(at: Surface) -> list[Part]:
    """Small parts joined, where the loss is a mean over examples: fewer and larger passes compute the same faster."""
    if at.training or len(at.parts) < 2:
        return at.parts
    runs: list[list[Part]] = [[]]
    for part in at.parts:
        if runs[-1] and count_examples(runs[-1][0].batch) * len(runs[-1]) >= JOINED:
            runs.append([])
        runs[-1].append(part)
    return [part for run in runs for part in _join(at, run)]


def _join(at: Surface, run: list[Part]) -> list[Part]:
    batch = joined([part.batch for part in run]) if len(run) > 1 else None
    if batch is None:
        return run
    with torch.no_grad():
        value, weight = at._measured(batch)
        apart = [at._measured(part.batch)[0] for part in run]
    total = sum(part.weight for part in run)
    mean = sum(part.weight * each for part, each in zip(run, apart, strict=True)) / total
    same = close(weight, total, 1e-4) and abs(value - mean) <= 1e-4 * max(map(abs, apart))
    return [Part(batch, weight)] if same else run


def _fitting(at: Surface, part: Part) -> list[Part]:
    """A part whose graph would not fit into memory in pieces that do, where the loss is a mean over examples."""
    examples = count_examples(part.batch)
    few = cut(part.batch, examples // SAMPLE) if examples >= 2 * SAMPLE else None
    if few is None:
        return [part]
    counted = Saved()
    with counted:
        at._gradients(at._bare(few[0]))
    expected = counted.bytes * examples / SAMPLE
    return [part] if expected < at.budget else at._cut(part, math.ceil(2 * expected / at.budget))


def _decay(weight_decay: Decay, parameters: dict[str, nn.Parameter], dtype: torch.dtype) -> Tensor | float:
    if isinstance(weight_decay, Mapping):
        unknown = set(weight_decay) - set(parameters)
        if unknown:
            raise RecipeError(
                f"weight_decay names {sorted(unknown)[0]!r}, which is no trained parameter. Give names of "
                "named_parameters(), or one number for all."
            )
        values = [float(weight_decay.get(name, 0.0)) for name in parameters]
    else:
        values = [float(weight_decay)]
    if not all(0 <= value < math.inf for value in values):
        raise RecipeError(f"weight_decay is {weight_decay!r}, but it is at least 0 and finite. Give for instance 0.01.")
    if not isinstance(weight_decay, Mapping):
        return values[0]
    rows = [p.new_full((p.numel(),), value, dtype=dtype) for value, p in zip(values, parameters.values(), strict=True)]
    return torch.cat([row.detach() for row in rows])


def _room(device: torch.device) -> float:
    """The bytes that graphs may take: half of what is free."""
    return (torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available()) / 2
