"""The head of a model against its loss and its targets: what the outputs can be, and what the loss wants them to be."""

from math import isfinite, isinf

from torch import Tensor

from thalweg.core.objective import name_of
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import Examined
from thalweg.diagnosis.checks.reach import Range, Reach
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.mechanism import Mechanism

SHARE = 0.1
"""A head that keeps the loss by this share of the way from the best constant down to the targets costs."""
CLIPPED = 0.1
"""A share of outputs that are exactly the lower end: they have no gradient."""


def head_flaws(e: Examined, reach: Reach) -> list[Flaw]:
    """A head that cannot give what the loss asks for: softmax twice, a range without the targets, a single softmax."""
    if not e.tensors or not e.distinct or not (e.classes or e.numbers):
        return []
    loss, kept = name_of(e.form.inner), reach.range
    if kept.low == kept.high or _constant(reach):
        return [_single(reach)]
    if (flaw := _scores(e, reach, loss)) is not None:
        return [flaw]
    if reach.bare or isinf(reach.free) or not isfinite(reach.reached):
        return []
    if reach.free < -1e-6 <= reach.reached:
        return []  # a loss that is negative only for outputs that it is not meant for: the logarithm of probabilities
    gap, way = reach.reached - reach.free, max(reach.constant - reach.free, 1e-12)
    if gap > SHARE * way and gap > 1e-6:
        return [_out_of_reach(e, reach, gap / way)]
    return []


def _constant(reach: Reach) -> bool:
    outputs = [reach.examined.output, *reach.outputs]
    return len(outputs) > 2 and all(float(o.max() - o.min()) < 1e-6 for o in outputs)


def _single(reach: Reach) -> Flaw:
    value = float(reach.outputs[-1].mean())
    return Flaw(
        Cause.WIRING,
        Mechanism.CONSTANT_OUTPUT,
        f"The output is {value:.3g} for every example, whatever the weights: a softmax over a single unit gives 1",
        value,
        "outputs that change with the weights and the inputs",
        "Take the softmax off, or give the model an output for each class",
        "two inputs, or two sets of weights, whose outputs differ",
    )


def _scores(e: Examined, reach: Reach, loss: str) -> Flaw | None:
    """A likelihood of classes that is given no logarithms of probabilities."""
    if not e.classes or not reach.bottomless:
        return None
    if reach.softmax_axis == 1 and reach.reached < -0.5:
        says = f"The outputs are probabilities, and {loss} takes logarithms: the lowest loss is {reach.reached:.3g}"
        mechanism, mend = Mechanism.PROBABILITIES_FOR_LOG_PROBABILITIES, "End the model with log_softmax"
        number = reach.reached
    elif not reach.range.bounded and not reach.logarithms and reach.softmax_axis is None:
        number = float(e.loss(e.output, e.y))
        says = (
            f"{loss} takes logarithms of probabilities, and the outputs are scores without a bound: their loss "
            "begins at "
            f"{number:.3g} and falls for ever as they grow"
        )
        mechanism, mend = Mechanism.SOFTMAX_NEVER, "Take nn.CrossEntropyLoss, or end the model with log_softmax"
    else:
        return None
    healthy = "outputs whose exponentials sum to 1, and a loss of at least 0"
    return Flaw(Cause.WIRING, mechanism, says, number, healthy, mend, "outputs whose exponentials sum to 1")


def _out_of_reach(e: Examined, reach: Reach, share: float) -> Flaw:
    kept, loss = reach.range, name_of(e.form.inner)
    costs = f"so that the loss stays above {reach.reached:.3g} on targets where free outputs reach {reach.free:.3g}"
    refuted = "a lower loss of this head on any inputs"
    if reach.softmax_axis is not None:
        multi = e.numbers and e.y.dim() > 1 and bool((e.y.sum(1) > 1.5).any())
        if multi:
            return Flaw(
                Cause.WIRING,
                Mechanism.SOFTMAX_FOR_LABELS_THAT_DO_NOT_EXCLUDE_EACH_OTHER,
                f"The outputs of an example sum to 1 and its labels to as much as {float(e.y.sum(1).max()):.3g}, "
                f"{costs}",
                reach.reached - reach.free,
                "a sigmoid for each label",
                "Take the softmax off, with nn.BCEWithLogitsLoss, or put a sigmoid in its place",
                refuted,
            )
        return Flaw(
            Cause.WIRING,
            Mechanism.SOFTMAX_TWICE,
            f"The outputs sum to 1 and {loss} takes another softmax of them, {costs}",
            reach.reached - reach.free,
            "scores without a bound (logits)",
            "Take the softmax out of the model",
            refuted,
        )
    ends = _ends(kept)
    logits = e.classes or (e.two_valued and reach.free < 1e-3 and _reads_logits(e))
    if logits and kept.high <= 1.03 and kept.low >= -0.03:
        return Flaw(
            Cause.WIRING,
            Mechanism.SIGMOID_TWICE,
            f"The outputs lie {ends} and {loss} takes {'a softmax' if e.classes else 'a sigmoid'} of them, {costs}",
            reach.reached - reach.free,
            "scores without a bound (logits)",
            "Take the sigmoid out of the model",
            refuted,
        )
    targets = "" if e.classes else f", the targets from {float(e.y.min()):.3g} to {float(e.y.max()):.3g}"
    return Flaw(
        Cause.WIRING,
        Mechanism.HEAD_WITHOUT_THE_TARGETS_IN_ITS_RANGE,
        f"The outputs lie {ends}{targets}, {costs}: {share:.0%} of the way from the best constant is out of reach",
        share,
        "a head whose range holds the targets",
        "End the model with a linear layer" + ("" if e.classes else ", or scale the targets into the head's range"),
        refuted,
    )


def _reads_logits(e: Examined) -> bool:
    """Whether a loss of yes and no is far lower for sure scores than for the targets themselves."""
    y: Tensor = e.y.reshape(e.output.shape).to(e.output.dtype)
    return float(e.loss(30 * (2 * y - 1), e.y)) < float(e.loss(y, e.y)) - 0.1


def _ends(kept: Range) -> str:
    if isfinite(kept.low) and isfinite(kept.high):
        return f"between {kept.low:.3g} and {kept.high:.3g}"
    return f"above {kept.low:.3g}" if isfinite(kept.low) else f"below {kept.high:.3g}"


def clipped_flaws(e: Examined, reach: Reach) -> list[Flaw]:
    """A rectifier on scores of classes: a score of 0 has no gradient, so that what is wrong there is never mended."""
    if not e.classes or reach.range.low != 0 or isfinite(reach.range.high) or reach.bottomless:
        return []
    share = float((e.output == 0).float().mean())
    if share < CLIPPED:
        return []
    return [
        Flaw(
            Cause.WIRING,
            Mechanism.RECTIFIER_ON_THE_SCORES,
            f"{share:.0%} of the scores are exactly 0, cut off by a rectifier at the end of the model, without a "
            "gradient",
            share,
            "scores of both signs",
            "Take the activation behind the last layer off",
            "a gradient of the loss with respect to weights of every class",
            Sure.LIKELY,
        )
    ]
