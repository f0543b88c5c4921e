"""What treats what: a change for each mechanism that a check names, and the usual ones for each cause.

The order is that in which they are promising: what a flaw asks for comes before what is usual.
"""

from collections.abc import Callable, Iterator
from functools import partial

from torch import nn

from thalweg.diagnosis import Cause, Finding
from thalweg.diagnosis.ranking import cause_of
from thalweg.measure.curvature.kinds import Kind
from thalweg.remedy.cleaning import (
    balanced,
    constants,
    unaugmented,
    without_contradictions,
    without_doubted,
    without_shared,
)
from thalweg.remedy.features import featured, waved
from thalweg.remedy.fitting import (
    by_adam,
    by_momentum,
    by_rmsprop,
    clipped,
    cooled,
    escaped,
    grown,
    ranged,
    rebatched,
    standardized,
    tuned,
    unclipped,
    unscheduled,
    warmed,
)
from thalweg.remedy.gaps import filled, with_targets, without_gaps
from thalweg.remedy.layers import initialized, linked, normed
from thalweg.remedy.remedy import Remedy
from thalweg.remedy.repairing import (
    BOUNDED,
    LOGARITHMS,
    LOGITS,
    SOFT,
    SQUASHING,
    averaged,
    bare_headed,
    complete,
    ended,
    freed,
    mended,
    over_classes,
    remembering,
    renamed,
    robust,
    shuffled,
    with_head,
)
from thalweg.remedy.restraining import decayed, dropped, masked, mixed_up, narrowed, smoothed, sparse
from thalweg.training import Recipe

Change = Callable[[Recipe], Recipe]
Treatments = tuple[tuple[str, Change], ...]

RANGED = ("learning rate by range test", ranged)
COOLED = ("learning rate falling to 0 along a cosine", cooled)
WARMED = ("warm-up over a tenth of the steps", warmed)
CLIPPED = ("gradients clipped to length 1", clipped)
NORMED = ("norms between layers and activations", normed)
LINKED = ("residual links", linked)
ANEW = ("layers initialized for their activations", initialized)
SMALLER = ("batches a quarter as large", partial(rebatched, factor=0.25))
LARGER = ("batches 4 x as large", partial(rebatched, factor=4.0))
SCALED = ("inputs standardized", standardized)
SCALED_TARGETS = ("targets standardized", partial(standardized, inputs=False, targets=True))
TUNED_NORMED = ("norms between layers, learning rate by range test", partial(tuned, change=normed))
TUNED_SCALED = ("inputs standardized, learning rate by range test", partial(tuned, change=standardized))
FREED = ("with nothing frozen", freed)
UNSCHEDULED = ("without its schedule", unscheduled)
ESCAPED = ("escaping from saddles", escaped)
BARE = ("without the activation behind the last layer", partial(bare_headed, kinds=BOUNDED))

BY_FLAW: dict[str, Treatments] = {
    "softmax twice": (("without the softmax in the model", partial(bare_headed, kinds=SOFT, otherwise=LOGARITHMS)),),
    "sigmoid twice": (("without the sigmoid in the model", partial(bare_headed, kinds=SQUASHING, otherwise=LOGITS)),),
    "head without the targets in its range": (BARE,),
    "rectifier on the scores": (BARE,),
    "constant output": (("a sigmoid in the place of the softmax", partial(with_head, head=nn.Sigmoid())),),
    "softmax for labels that do not exclude each other": (
        ("a sigmoid in the place of the softmax", partial(with_head, head=nn.Sigmoid())),
    ),
    "softmax never": (("log-softmax behind the model", partial(ended, head=nn.LogSoftmax(1))),),
    "probabilities for log-probabilities": (
        ("log-softmax in the place of the softmax", partial(with_head, head=nn.LogSoftmax(1))),
    ),
    "softmax over the batch axis": (("softmax over the classes", over_classes),),
    "broadcast in the loss": (("each output with its own target", partial(mended, how="paired")),),
    "flipped sign": (("the other sign of the loss", partial(mended, how="turned")),),
    "labels outside of [0, 1]": (("labels 0 and 1", renamed),),
    "sum instead of mean": (("the mean of the loss over the examples", averaged),),
    "not in the optimizer": (("an optimizer over all parameters", complete),),
    "learning rate 0": (("a learning rate above 0 for all parameters", complete),),
    "batches of one class": (("examples shuffled", shuffled),),
    "running statistics stay": (("batch norms of momentum 0.1", remembering),),
    "batch norm over few values": (LARGER,),
    "schedule gives no multiplier": (UNSCHEDULED,),
    "learning rate spent early": (UNSCHEDULED,),
    "inputs not finite": (
        ("gaps in the inputs filled and marked", filled),
        ("without the train examples that have gaps", without_gaps),
    ),
    "targets not finite": (
        ("without the examples whose target is missing", with_targets),
        ("gaps in the inputs filled and marked", filled),
        ("without the train examples that have gaps", without_gaps),
    ),
    "wrong labels": (("without the examples whose labels are doubted", without_doubted),),
    "equal inputs with different labels": (
        ("without the examples that contradict one another", without_contradictions),
    ),
    "train examples in validation": (("without the train examples that validation has", without_shared),),
    "a rare class is neglected": (("classes weighed alike in the loss", balanced),),
    "targets far out": (("Huber's loss", robust),),
    "constant inputs": (("blind to inputs that never change", partial(masked, which=constants)),),
    "inputs far from unit scale": (SCALED, TUNED_SCALED),
    "targets far from unit scale": (SCALED_TARGETS,),
    "augmentation destroys the signal": (("without augmentation", unaugmented),),
    "loss not finite": (CLIPPED, WARMED, RANGED, NORMED),
    "exploding signal": (ANEW, NORMED, CLIPPED),
    "vanishing gradient": (TUNED_NORMED, NORMED, LINKED, ANEW),
    "dead units": (NORMED, ANEW, WARMED),
    "saturated units": (NORMED, ANEW),
    "inputs saturate the first layer": (SCALED, TUNED_SCALED),
    "symmetric units": (ANEW,),
    "loss at initialization": (ANEW, SCALED),
    "learning rate too low": (RANGED,),
    "weights hardly move": (RANGED,),
    "learning rate too high": (RANGED, COOLED, WARMED, CLIPPED),
    "oscillation": (COOLED, LARGER),
    "noisy steps": (COOLED, LARGER),
    "loss spikes": (CLIPPED, WARMED),
    "swinging loss": (COOLED, RANGED),
    "learning rate dies too early": (UNSCHEDULED,),
    "warm-up never ends": (UNSCHEDULED,),
    "too few steps": (SMALLER,),
    "plateau": (RANGED, NORMED),
    "clip far below the gradient": (("gradients not clipped", unclipped),),
}
"""Changes for what a check has seen, by its mechanism; what is missing here is mended by hand alone."""

USUAL: dict[Cause, Treatments] = {
    Cause.OPTIMIZATION: (
        FREED,
        RANGED,
        COOLED,
        NORMED,
        ("Adam at its usual rate", by_adam),
        TUNED_SCALED,
        SCALED_TARGETS,
        ANEW,
        SMALLER,
        LINKED,
        ("SGD with momentum", by_momentum),
        ("RMSProp at its usual rate", by_rmsprop),
        WARMED,
        CLIPPED,
        LARGER,
    ),
    Cause.MODEL_BIAS: (
        FREED,
        ("4 x as wide", partial(grown, how="wide")),
        ("one hidden layer more", partial(grown, how="deep")),
        ("random Fourier features of the inputs", waved),
        ("products of the inputs", featured),
    ),
    Cause.OVERFITTING: (
        ("mixtures of two examples (mixup)", mixed_up),
        ("dropout", dropped),
        ("weight decay by AdamW", decayed),
        ("smoothed labels", smoothed),
        ("blind to inputs that tell nothing", masked),
        ("half as wide", narrowed),
        ("a penalty on absolute weights", sparse),
    ),
}
"""What is usual for a cause, after all that its finding asks for."""


def treating(finding: Finding, cause: Cause) -> Iterator[Remedy]:
    """The remedies of the flaws that are of a cause, in the order in which the flaws are ranked."""
    stopped = finding.stopped_at
    if cause is Cause.OPTIMIZATION and stopped is not None and stopped.kind in (Kind.SADDLE, Kind.LOCAL_MAXIMUM):
        yield Remedy(ESCAPED[0], cause, ESCAPED[1])
    said = [ranked.sentence for ranked in finding.ranked]
    flaws = [flaw for flaw in finding.flaws if cause_of(flaw) is cause]
    first = [flaw for flaw in flaws if any(sentence.startswith(flaw.says) for sentence in said)]
    for flaw in (*first, *(flaw for flaw in flaws if flaw not in first)):
        for name, change in BY_FLAW.get(flaw.mechanism, ()):
            yield Remedy(name, cause, change)


def usual(cause: Cause) -> Iterator[Remedy]:
    """The usual remedies of a cause.

    >>> [remedy.name for remedy in usual(Cause.MODEL_BIAS)][1:3]
    ['4 x as wide', 'one hidden layer more']
    """
    for name, change in USUAL.get(cause, ()):
        yield Remedy(name, cause, change)
