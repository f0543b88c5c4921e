"""The loss as a function of output and target: its sign, its axes, what it depends on, and where it begins."""

from collections.abc import Iterator
from math import isfinite

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from thalweg.core.nest import map_tensors
from thalweg.core.objective import name_of
from thalweg.core.signature import argument_names
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import Examined, Unasked
from thalweg.diagnosis.checks.moves import follows_scale, own_steps
from thalweg.diagnosis.checks.reach import Reach, standardized
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism

OUT_OF_PROPORTION = 10.0
"""A loss at initialization of so many times the best constant's; by He's rule it is up to twice or thrice."""


def broadcast_flaws(e: Examined) -> list[Flaw]:
    """Output and target of unlike shapes that the loss spreads against each other, each output with every target."""
    if not e.tensors or not e.distinct or e.classes or e.output.shape == e.y.shape or e.n < 3:
        return []
    o, y = e.output, e.y
    if o.numel() == y.numel():
        paired, crossed = float(e.loss(o, y.reshape(o.shape))), float(e.loss(o, y))
        order = e.shuffled("broadcast")
        if not _near(paired, crossed) and _near(crossed, float(e.loss(o, y[order]))):
            return [_crossed(e, paired, crossed)]
        return []
    if y.dim() == o.dim() == 2 and o.shape[1] == 1 < y.shape[1] and y.is_floating_point():
        spread, whole = float(e.loss(o, y)), float(e.loss(o.expand_as(y), y))
        if _near(spread, whole) and bool((y != y[:, :1]).any()):
            return [
                Flaw(
                    Cause.WIRING,
                    Mechanism.FEWER_OUTPUTS_THAN_TARGETS,
                    f"An example has {y.shape[1]} targets and the model one output, which is compared with all of them",
                    float(y.shape[1]),
                    "an output for each target",
                    f"Give the model {y.shape[1]} outputs",
                    "a loss that differs when the output is repeated for each target",
                )
            ]
    return []


def _crossed(e: Examined, paired: float, crossed: float) -> Flaw:
    o, y, n = tuple(e.output.shape), tuple(e.y.shape), e.n
    return Flaw(
        Cause.WIRING,
        Mechanism.BROADCAST_IN_THE_LOSS,
        f"Outputs {o} against targets {y} are spread to all {n} x {n} pairs: the loss is {crossed:.4g}, by pairs that "
        f"belong together {paired:.4g}, and does not change when the targets are permuted",
        crossed - paired,
        "the same shape for both",
        f"Reshape one of them: target.reshape({', '.join(map(str, ('-1', *o[1:])))})",
        "a loss that changes when the targets are permuted",
    )


def dependence_flaws(e: Examined) -> list[Flaw]:
    """A loss that does not change with the output, with the target, or that takes its softmax over the batch."""
    if not e.tensors or e.n < 3:
        return []
    outputs = [e.output + scale * _noise(e, f"dependence {scale}") for scale in (0.1, 1.0)]
    outputs = [o.abs() + 0.01 if bool((e.output >= 0).all()) else o for o in outputs]
    if bool((e.output >= 0).all() and (e.output <= 1).all()):
        outputs = [o.clamp(0.01, 0.99) for o in outputs]
    if all(_gradient(e, o) == 0.0 for o in [e.output, *outputs]):
        return [
            Flaw(
                Cause.WIRING,
                Mechanism.LOSS_WITHOUT_THE_OUTPUT,
                f"The gradient of {name_of(e.form.inner)} with respect to the outputs is 0 wherever they are",
                0.0,
                "a gradient",
                "Keep the loss connected to the model's output: no argmax, round, comparison or detach on the way",
                "outputs at which the gradient is not 0",
            )
        ]
    return [*_without_target(e, outputs), *_without_class(e, [e.output, *outputs]), *_over_batch(e, outputs)]


def _without_target(e: Examined, outputs: list[Tensor]) -> Iterator[Flaw]:
    predicts = (e.classes and e.output.shape[1] == int(e.y.max()) + 1) or (e.numbers and e.output.shape == e.y.shape)
    names = argument_names(e.form.inner)
    if not predicts or not e.distinct or (len(names) > 1 and names[1].startswith("_")):
        return
    order = e.shuffled("target")
    again = _far(e.y)
    for o in outputs:
        before = float(e.loss(o, e.y))
        if not _near(before, float(e.loss(o, e.y[order])), 1e-7) or not _near(before, float(e.loss(o, again)), 1e-7):
            return
    yield Flaw(
        Cause.WIRING,
        Mechanism.LOSS_WITHOUT_THE_TARGET,
        f"{name_of(e.form.inner)} gives {before:.4g} for these targets, for the same ones permuted, and for others",
        before,
        "another loss for other targets",
        "Compare the output with the target in the loss",
        "two sets of targets whose losses differ",
    )


def _without_class(e: Examined, outputs: list[Tensor]) -> Iterator[Flaw]:
    """A class of examples that has no gradient: `ignore_index` or a weight of 0 names one that is there.

    At a step of a sequence such a class is padding; of a whole example it is a class that is never trained.
    """
    if not e.classes or e.y.dim() != 1:
        return
    classes = [int(label) for label in e.y.unique()]
    left = [c for c in classes if all(_gradient(e, o, torch.full_like(e.y, c)) == 0.0 for o in outputs)]
    if not left or len(left) == len(classes):
        return
    yield Flaw(
        Cause.WIRING,
        Mechanism.LOSS_WITHOUT_A_CLASS,
        f"Examples of class {', '.join(map(str, left))} have no gradient in {name_of(e.form.inner)}, whatever the "
        "outputs are: it is never trained",
        float(len(left)),
        "a gradient for every class",
        "Leave ignore_index at a number that no class has (-100), and give every class a weight above 0",
        "a class that stands for examples which are not to be learned",
    )


def _far(y: Tensor) -> Tensor:
    """Other targets of the same kind."""
    return y.flip(0) if not y.is_floating_point() else y.flip(0) * 0.5 + 0.25 * y.mean(0, keepdim=True)


def _over_batch(e: Examined, outputs: list[Tensor]) -> Iterator[Flaw]:
    if not e.classes or e.output.dim() != 2 or e.output.shape[1] == e.n or e.output.shape[1] < 2:
        return
    by_class = _noise(e, "columns")[:1]
    by_example = 5 * _noise(e, "rows")[:, :1]
    for o in outputs:
        o = o * 3
        before = float(e.loss(o, e.y))
        if not _near(before, float(e.loss(o + by_class, e.y)), 1e-4) or _near(
            before, float(e.loss(o + by_example, e.y)), 1e-3
        ):
            return
    yield Flaw(
        Cause.WIRING,
        Mechanism.SOFTMAX_OVER_THE_BATCH_AXIS,
        f"The loss stays {before:.4g} when all scores of a class grow by one number, and changes when those of an "
        "example do",
        before,
        "a loss that changes with the scores of a class against another",
        "Take the softmax over the classes: dim=1",
        "a loss that changes with the scores of one class alone",
    )


def sign_flaws(e: Examined, reach: Reach) -> list[Flaw]:
    """A loss that is higher for right outputs than for wrong ones."""
    if not e.tensors or not e.distinct or not (e.classes or e.numbers):
        return []
    order = e.shuffled("sign")
    compared = []
    for right in _right(e):
        try:
            losses = float(e.loss(right, e.y)), float(e.loss(right[order], e.y))
        except Unasked:
            continue
        if all(map(isfinite, losses)):
            compared.append(losses)
    if not compared or not all(right > wrong + 1e-6 * (1 + abs(right)) for right, wrong in compared):
        return []
    if not reach.bottomless and (e.classes or e.two_valued):
        return []  # a distance in the place of a score: small is right
    low, high = compared[0]
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.FLIPPED_SIGN,
            f"The loss of right outputs is {low:.4g} and of wrong ones {high:.4g}: minimizing it makes them worse",
            low - high,
            "a lower loss for right outputs",
            "Turn the sign of the loss",
            "outputs for which the loss falls as they come closer to the targets",
        )
    ]


def _right(e: Examined) -> Iterator[Tensor]:
    """Outputs that are right, in the forms that losses read."""
    if e.classes:
        hot = one_hot(e.y.long(), e.output.shape[1]).movedim(-1, 1).to(e.output.dtype)
        yield from (8 * hot, (8 * hot).log_softmax(1), (8 * hot).softmax(1))
        return
    y = e.y.reshape(e.output.shape).to(e.output.dtype)
    if set(e.y.unique().tolist()) <= {0.0, 1.0}:
        yield from (8 * (2 * y - 1), 0.02 + 0.96 * y)
    else:
        yield y


def unbounded_flaws(e: Examined, reach: Reach) -> list[Flaw]:
    """Labels of yes and no that are no 0 and 1, in a loss that takes them for probabilities."""
    if not e.two_valued or set(e.y.unique().tolist()) == {0.0, 1.0}:
        return []
    low, high = sorted(e.y.unique().tolist())
    if not reach.bottomless if reach.bare else reach.reached > -1:
        return []
    renamed = ((e.y - low) / (high - low)).to(e.y.dtype)
    zeros = torch.zeros_like(e.output) if not reach.range.bounded else e.output
    moved = [float(e.loss((zeros + way).clamp(*_within(reach)), renamed)) for way in (-50.0, 50.0)]
    if min(moved) < 0:
        return []
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.LABELS_OUTSIDE_OF_0_1,
            f"The labels are {low:g} and {high:g}, and {name_of(e.form.inner)} takes them for probabilities: it has "
            "no lower "
            "bound, and falls for ever as the outputs grow",
            high,
            "labels 0 and 1",
            f"Number the labels from 0: (target - {low:g}) / {high - low:g}",
            "a lower bound of the loss",
        )
    ]


def _within(reach: Reach) -> tuple[float, float]:
    return reach.range.low, reach.range.high


def sum_flaws(e: Examined) -> list[Flaw]:
    """A loss that is a sum over the examples, so that the size of a batch multiplies the step, and overshoots."""
    if not e.tensors or e.n < 4:
        return []
    before = float(e.loss(e.output, e.y))
    twice = float(e.loss(torch.cat([e.output, e.output]), torch.cat([e.y, e.y])))
    halved = float(e.loss(e.output[: e.n // 2], e.y[: e.n // 2])) + float(e.loss(e.output[e.n // 2 :], e.y[e.n // 2 :]))
    if abs(before) < 1e-9 or not _near(twice, 2 * before, 1e-3) or not _near(halved, before, 1e-3):
        return []
    if e.recipe.loop is not None or e.recipe.clip_norm is not None or not follows_scale(e):
        return []
    size = len(e.full[1])
    losses = own_steps(e, e.full, 10)
    scaled = own_steps(e, e.full, 10, scale=1.0 / size)
    if not losses or not scaled or losses[-1] <= losses[0] or scaled[-1] >= scaled[0]:
        return []
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.SUM_INSTEAD_OF_MEAN,
            f"A batch given twice has {twice / before:.3g} times the loss, so that the step is {size} times that of "
            "a mean: "
            f"within 10 steps the loss of a batch goes from {losses[0]:.4g} to {losses[-1]:.4g}",
            twice / before,
            "the same loss for a batch given twice",
            f"Take the mean over the examples (reduction='mean'), or a learning rate {size} times smaller",
            "a loss of one batch that falls within some steps",
            Sure.MEASURED,
        )
    ]


def start_flaws(e: Examined, reach: Reach) -> list[Flaw]:
    """A loss at initialization far above the best constant's, with inputs of any scale."""
    if not (e.classes or (e.two_valued and _is_logistic(e))) or (e.run is None and e.work > 1e9):
        return []
    start = float(e.loss(e.output, e.y))
    if start < OUT_OF_PROPORTION * reach.quick[0]:
        return []
    constant = reach.constant
    if not isfinite(constant) or constant < 0.05 or start < OUT_OF_PROPORTION * constant:
        return []
    plain = map_tensors(standardized, e.x)
    scaled = float(e.loss(e.judged(e.fresh(), plain), e.y))
    if scaled < OUT_OF_PROPORTION * constant:
        return []  # the inputs' scale alone: a matter of the data
    return [
        Flaw(
            Cause.OPTIMIZATION,
            Mechanism.LOSS_AT_INITIALIZATION,
            f"Training begins at a loss of {start:.3g}, {start / constant:.3g} times that of the best constant "
            f"({constant:.3g}), "
            f"and of {scaled:.3g} with standardized inputs",
            start / constant,
            "at most twice the best constant's (ln C for C classes), somewhat more by He's rule",
            "Initialize with smaller weights, or put a normalization before the last layer",
            "a loss below the best constant's within the first epoch",
            Sure.LIKELY,
            Raises.TRAIN,
        )
    ]


def _is_logistic(e: Examined) -> bool:
    return "BCE" in name_of(e.form.inner) or "binary" in name_of(e.form.inner)


def _noise(e: Examined, purpose: str) -> Tensor:
    noise = torch.randn(e.output.shape, generator=e.generator(purpose)).to(e.output)
    return noise * max(float(e.output.std()) if e.output.numel() > 1 else 0.0, 0.1)


def _gradient(e: Examined, output: Tensor, y: Tensor | None = None) -> float:
    """The largest number of the gradient with respect to outputs; 0 where it is the mean of nothing."""
    with torch.enable_grad():
        z = output.detach().clone().requires_grad_()
        loss = e.loss(z, e.y if y is None else y)
        if not loss.requires_grad:
            return 0.0
        (gradient,) = torch.autograd.grad(loss, z, allow_unused=True)
    if gradient is None or (y is not None and not bool(loss.isfinite())):
        return 0.0
    return float(gradient.abs().max())


def _near(first: float, second: float, share: float = 1e-5) -> bool:
    return abs(first - second) <= share * max(abs(first), abs(second), 1e-12)
