"""What goes through the layers that is not as it should be: nothing comes back, too much, dead, flat or equal units."""

from collections.abc import Iterator
from math import isfinite

from thalweg.core.wording import counted
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.dynamics_seen import Seen
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.measure.propagation import LayerSignal

VANISHED = 1e-3
"""The gradient that reaches the first layer, as a share of the largest: healthy networks of 20 layers keep .05."""
GROWN = 100.0
"""A network that is not normalized gives out so many times what it reads: healthy ones less than 3 at the beginning."""
DEAD, FLAT, EQUAL = 0.7, 0.5, 0.5
"""Shares of a layer's units: of 35 healthy trainings at most .31 were dead, none flat, none equal."""
DIES = 0.9
"""Where so many units are dead, that is why no gradient comes back."""
FAR = 5.0
"""Inputs of such a size saturate what would not be saturated by inputs of size 1."""
FEW = 4
"""A layer of fewer units is not judged by shares of them."""


def layer_flaws(seen: Seen) -> Iterator[Flaw]:
    """What the layers show, at the beginning and at the end."""
    if broken := _not_finite(seen):
        yield broken
        return
    yield from _exploding(seen)
    if seen.learnt:
        return
    yield from _symmetric(seen)
    dead = list(_dead(seen))
    flat = list(_saturated(seen))
    yield from (*dead, *flat)
    if not any(flaw.number >= DIES for flaw in dead):
        yield from _vanishing(seen)


def _not_finite(seen: Seen) -> Flaw | None:
    """The first layer whose numbers are not finite."""
    stretches = [seen.probe.begin] if seen.probe.end is None else [seen.probe.begin, seen.probe.end]
    for stretch in stretches:
        place = next((k for k, step in enumerate(stretch.steps, 1) if not isfinite(step.loss)), None)
        layer = next((layer for layer in (*stretch.before, *stretch.after) if not layer.finite), None)
        if place is None and layer is None:
            continue
        step = "at the first step" if place == 1 else f"at step {place}" if place else "after the probe's steps"
        where = "in the loss itself" if layer is None else f"first in the layer '{layer.name}' ({layer.kind})"
        return Flaw(
            Cause.OPTIMIZATION,
            Mechanism.LOSS_NOT_FINITE,
            f"The loss or a gradient is not finite {step}, {where}",
            float(place or len(stretch.steps)),
            "finite numbers in every layer",
            "Lower the learning rate, clip the gradient (clip_norm=1.0), and look at that layer for a logarithm, a "
            "division or a root of what may be 0 or negative",
            "the same steps at a tenth of the learning rate are not finite either: then it is the data or the layer",
            Sure.CERTAIN,
        )
    return None


def _exploding(seen: Seen) -> Iterator[Flaw]:
    layers = [layer for layer in seen.probe.begin.before if isfinite(layer.input) and layer.input > 0]
    if len(layers) < 2:
        return
    read = layers[0].input
    top = max(layers, key=lambda layer: layer.deviation)
    if top.deviation < GROWN * read:
        return
    first = next(layer for layer in layers if layer.deviation >= GROWN ** (1 / len(layers)) * layer.input)
    yield Flaw(
        Cause.OPTIMIZATION,
        Mechanism.EXPLODING_SIGNAL,
        f"The layer '{top.name}' gives out {top.deviation / read:.3g} times the size of the inputs before the first "
        f"step, and the growth begins in '{first.name}'; gradients grow with it",
        top.deviation / read,
        "less than 10: a signal keeps its size from layer to layer",
        "Initialize by fan-in (torch's default, or He's for ReLU), or normalize (LayerNorm, BatchNorm)",
        "the same network initialized by fan-in comes to the same train loss",
        Sure.MEASURED,
    )


def _vanishing(seen: Seen) -> Iterator[Flaw]:
    shares = []
    for layers in (seen.probe.begin.after, seen.probe.last.after):
        reached = [layer for layer in layers if isfinite(layer.gradient)]
        if len(reached) < 3 or not (most := max(layer.signal for layer in reached)):
            return
        largest = max(layer.gradient for layer in reached)  # 0 where all weights are frozen
        by_weights = reached[0].gradient / largest if largest else 0.0
        shares.append((max(reached[0].signal / most, by_weights), reached))
    share, reached = max(shares, key=lambda pair: pair[0])
    if share >= VANISHED:
        return
    most = max(layer.signal for layer in reached)
    where = next((layer for layer in reversed(reached) if layer.signal < VANISHED * most), reached[0])
    yield Flaw(
        Cause.OPTIMIZATION,
        Mechanism.VANISHING_GRADIENT,
        f"The gradient that reaches the first layer, '{reached[0].name}', is {share:.2g} of the largest, and from "
        f"'{where.name}' back it is below {VANISHED:g}",
        share,
        "above 0.01, and about 1 with normalization or residual connections",
        "Normalize the layers, add residual connections, initialize for the activation (He for ReLU), or take ReLU in "
        "the place of sigmoid and tanh",
        "with normalized layers the train loss stays where it is",
        Sure.MEASURED,
    )


def _dead(seen: Seen) -> Iterator[Flaw]:
    worst = _worst(seen.probe.last.after, "dead")
    if worst is None or worst.dead < DEAD:
        return
    before = {layer.name: layer for layer in seen.probe.begin.before}.get(worst.name)
    since = "from the beginning" if before is not None and before.dead >= DEAD else "since the training began"
    yield Flaw(
        Cause.OPTIMIZATION,
        Mechanism.DEAD_UNITS,
        f"{worst.dead:.0%} of the {counted(worst.units, 'unit')} of '{worst.name}' are dead {since}: no example gives "
        "them a gradient",
        worst.dead,
        "less than a third",
        "Initialize biases at 0 and weights for the activation, lower the learning rate or warm it up, or take a leaky "
        "activation (LeakyReLU, GELU)",
        "the same training with LeakyReLU comes to the same train loss",
        Sure.MEASURED,
    )


def _saturated(seen: Seen) -> Iterator[Flaw]:
    late = {layer.name: layer.saturated for layer in seen.probe.last.after}
    lasting = [layer for layer in seen.probe.begin.after if min(layer.saturated, late.get(layer.name, 0.0)) >= FLAT]
    worst = max(lasting, key=lambda layer: layer.saturated, default=None)
    if worst is None:
        return
    first = seen.probe.begin.before[0]
    by_inputs = worst.name == first.name and isfinite(first.input) and first.input > FAR
    says = (
        f"{worst.saturated:.0%} of the units behind '{worst.name}' are saturated for most examples: the slope of the "
    )
    says += "activation there is below a hundredth of its steepest"
    mend = (
        "Initialize with smaller weights (Glorot), normalize before the activation, or take one that does not saturate"
    )
    if by_inputs:
        says += f". The inputs of the layer have size {first.input:.3g}"
        mend = "Standardize the inputs to mean 0 and deviation 1"
    yield Flaw(
        Cause.OPTIMIZATION,
        Mechanism.INPUTS_SATURATE_THE_FIRST_LAYER if by_inputs else Mechanism.SATURATED_UNITS,
        says,
        worst.saturated,
        "hardly any at the beginning of a training",
        mend,
        "with the inputs divided by their size, or with a normalized layer, the train loss stays where it is",
        Sure.MEASURED,
    )


def _symmetric(seen: Seen) -> Iterator[Flaw]:
    late = {layer.name: layer.symmetric for layer in seen.probe.last.after}
    equal = [layer for layer in seen.probe.begin.after if min(layer.symmetric, late.get(layer.name, 0.0)) >= EQUAL]
    if not equal:
        return
    worst = max(equal, key=lambda layer: layer.symmetric)
    yield Flaw(
        Cause.OPTIMIZATION,
        Mechanism.SYMMETRIC_UNITS,
        f"{worst.symmetric:.0%} of the {counted(worst.units, 'unit')} of '{worst.name}' have the same weights and the "
        "same gradient as another one, so that they stay one and the same unit",
        worst.symmetric,
        "0: no two units are equal after some steps",
        "Initialize the weights at random (leave torch's default, or nn.init.kaiming_normal_), and only biases at 0",
        "units that differ after more steps",
        Sure.CERTAIN,
    )


def _worst(layers: tuple[LayerSignal, ...], name: str) -> LayerSignal | None:
    return max((layer for layer in layers if layer.units >= FEW), key=lambda layer: getattr(layer, name), default=None)
