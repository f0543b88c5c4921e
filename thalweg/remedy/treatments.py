"""What treats what: a change for each mechanism that a check names, and the usual ones for each cause.

The order is that in which they are promising: what a flaw asks for comes before what is usual.
"""

from collections.abc import Callable, Iterator
from functools import partial

from torch import nn

from thalweg.diagnosis import Cause, Finding
from thalweg.diagnosis.mechanism import Mechanism
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
from thalweg.remedy.restraining import decayed, dropped, masked, mixed_up, narrowed, smoothed, sparse, these
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

BLIND = "blind to the inputs that tell the target, but not on test"

BY_FLAW: dict[Mechanism, Treatments] = {
    Mechanism.SOFTMAX_TWICE: (
        ("without the softmax in the model", partial(bare_headed, kinds=SOFT, otherwise=LOGARITHMS)),
    ),
    Mechanism.SIGMOID_TWICE: (
        ("without the sigmoid in the model", partial(bare_headed, kinds=SQUASHING, otherwise=LOGITS)),
    ),
    Mechanism.HEAD_WITHOUT_THE_TARGETS_IN_ITS_RANGE: (BARE,),
    Mechanism.RECTIFIER_ON_THE_SCORES: (BARE,),
    Mechanism.CONSTANT_OUTPUT: (("a sigmoid in the place of the softmax", partial(with_head, head=nn.Sigmoid())),),
    Mechanism.SOFTMAX_FOR_LABELS_THAT_DO_NOT_EXCLUDE_EACH_OTHER: (
        ("a sigmoid in the place of the softmax", partial(with_head, head=nn.Sigmoid())),
    ),
    Mechanism.SOFTMAX_NEVER: (("log-softmax behind the model", partial(ended, head=nn.LogSoftmax(1))),),
    Mechanism.PROBABILITIES_FOR_LOG_PROBABILITIES: (
        ("log-softmax in the place of the softmax", partial(with_head, head=nn.LogSoftmax(1))),
    ),
    Mechanism.SOFTMAX_OVER_THE_BATCH_AXIS: (("softmax over the classes", over_classes),),
    Mechanism.BROADCAST_IN_THE_LOSS: (("each output with its own target", partial(mended, how="paired")),),
    Mechanism.FLIPPED_SIGN: (("the other sign of the loss", partial(mended, how="turned")),),
    Mechanism.LABELS_OUTSIDE_OF_0_1: (("labels 0 and 1", renamed),),
    Mechanism.SUM_INSTEAD_OF_MEAN: (("the mean of the loss over the examples", averaged),),
    Mechanism.NOT_IN_THE_OPTIMIZER: (("an optimizer over all parameters", complete),),
    Mechanism.LEARNING_RATE_0: (("a learning rate above 0 for all parameters", complete),),
    Mechanism.BATCHES_OF_ONE_CLASS: (("examples shuffled", shuffled),),
    Mechanism.RUNNING_STATISTICS_STAY: (("batch norms of momentum 0.1", remembering),),
    Mechanism.BATCH_NORM_OVER_FEW_VALUES: (LARGER,),
    Mechanism.SCHEDULE_GIVES_NO_MULTIPLIER: (UNSCHEDULED,),
    Mechanism.LEARNING_RATE_SPENT_EARLY: (UNSCHEDULED,),
    Mechanism.INPUTS_NOT_FINITE: (
        ("gaps in the inputs filled and marked", filled),
        ("without the train examples that have gaps", without_gaps),
    ),
    Mechanism.TARGETS_NOT_FINITE: (
        ("without the examples whose target is missing", with_targets),
        ("gaps in the inputs filled and marked", filled),
        ("without the train examples that have gaps", without_gaps),
    ),
    Mechanism.WRONG_LABELS: (("without the examples whose labels are doubted", without_doubted),),
    Mechanism.EQUAL_INPUTS_WITH_DIFFERENT_LABELS: (
        ("without the examples that contradict one another", without_contradictions),
    ),
    Mechanism.TRAIN_EXAMPLES_IN_VALIDATION: (("without the train examples that validation has", without_shared),),
    Mechanism.A_RARE_CLASS_IS_NEGLECTED: (("classes weighed alike in the loss", balanced),),
    Mechanism.TARGETS_FAR_OUT: (("Huber's loss", robust),),
    Mechanism.CONSTANT_INPUTS: (("blind to inputs that never change", partial(masked, which=constants)),),
    Mechanism.INPUTS_FAR_FROM_UNIT_SCALE: (SCALED, TUNED_SCALED),
    Mechanism.TARGETS_FAR_FROM_UNIT_SCALE: (SCALED_TARGETS,),
    Mechanism.AUGMENTATION_DESTROYS_THE_SIGNAL: (("without augmentation", unaugmented),),
    Mechanism.LOSS_NOT_FINITE: (CLIPPED, WARMED, RANGED, NORMED),
    Mechanism.EXPLODING_SIGNAL: (ANEW, NORMED, CLIPPED),
    Mechanism.VANISHING_GRADIENT: (TUNED_NORMED, NORMED, LINKED, ANEW),
    Mechanism.DEAD_UNITS: (NORMED, ANEW, WARMED),
    Mechanism.SATURATED_UNITS: (NORMED, ANEW),
    Mechanism.INPUTS_SATURATE_THE_FIRST_LAYER: (SCALED, TUNED_SCALED),
    Mechanism.SYMMETRIC_UNITS: (ANEW,),
    Mechanism.LOSS_AT_INITIALIZATION: (ANEW, SCALED),
    Mechanism.LEARNING_RATE_TOO_LOW: (RANGED,),
    Mechanism.WEIGHTS_HARDLY_MOVE: (RANGED,),
    Mechanism.LEARNING_RATE_TOO_HIGH: (RANGED, COOLED, WARMED, CLIPPED),
    Mechanism.OSCILLATION: (COOLED, LARGER),
    Mechanism.NOISY_STEPS: (COOLED, LARGER),
    Mechanism.LOSS_SPIKES: (CLIPPED, WARMED),
    Mechanism.SWINGING_LOSS: (COOLED, RANGED),
    Mechanism.LEARNING_RATE_DIES_TOO_EARLY: (UNSCHEDULED,),
    Mechanism.WARM_UP_NEVER_ENDS: (UNSCHEDULED,),
    Mechanism.TOO_FEW_STEPS: (SMALLER,),
    Mechanism.PLATEAU: (RANGED, NORMED),
    Mechanism.CLIP_FAR_BELOW_THE_GRADIENT: (("gradients not clipped", unclipped),),
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
        if flaw.columns and cause is Cause.MISMATCH:
            yield Remedy(BLIND, cause, partial(masked, which=partial(these, columns=flaw.columns)))


def usual(cause: Cause) -> Iterator[Remedy]:
    """The usual remedies of a cause.

    >>> [remedy.name for remedy in usual(Cause.MODEL_BIAS)][1:3]
    ['4 x as wide', 'one hidden layer more']
    """
    for name, change in USUAL.get(cause, ()):
        yield Remedy(name, cause, change)
