"""Classes: too rare, absent from a split, exchanged between splits, neglected by the model."""

import numpy as np
import torch
from torch import Tensor

from thalweg.core.nest import to_device
from thalweg.core.objective import apply
from thalweg.core.source import Source
from thalweg.core.wording import counted
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.columns import raised_by
from thalweg.diagnosis.checks.data_rows import Rows
from thalweg.diagnosis.checks.opinions import Opinions
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.training import Recipe, Run

FEW, RARE, EXPECTED = 10, 0.01, 8.0
"""Examples of a class below which it is few; the share below which it is rare; how many of an absent one are missed."""
UNSEEN = 0.01
GAIN, OF_OWN, FEWEST = 0.1, 0.8, 20
"""What exchanging labels must gain, the share of the accuracy within train that it must reach, and the examples."""
NEGLECTED, KNOWN = 0.2, 0.4
"""The recall of a class that a model neglects, and how much better a learner of another kind does on it."""
SHOWN = 3


def few_examples(rows: Rows) -> list[Flaw]:
    """Notes: the smallest class has few examples, a class is rare, or there are more inputs than examples."""
    found = []
    if rows.table and rows.x is not None and rows.x.shape[1] > rows.length:
        ratio = rows.x.shape[1] / rows.length
        says = f"There are {rows.x.shape[1]:,} inputs and {counted(rows.length, 'train example')}"
        mend = "Gather examples, or choose inputs without a look at validation; penalize the weights"
        found.append(_note(Mechanism.MORE_INPUTS_THAN_EXAMPLES, says, ratio, "below 1", mend))
    if not rows.classes or rows.targets is None:
        return found
    names, counts = np.unique(rows.targets[rows.targets >= 0], return_counts=True)
    if len(names) < 2:
        return found
    least, share = int(counts.argmin()), float(counts.min() / counts.sum())
    if counts[least] < FEW:
        held = counted(int(counts[least]), "train example")
        says = f"Class {rows.label(names[least])} has {held}, of {counts.sum():,} in all"
        mend = "Gather examples of it, or merge it with a class that is like it"
        found.append(_note(Mechanism.A_CLASS_OF_FEW_EXAMPLES, says, float(counts[least]), f"at least {FEW}", mend))
    elif share < RARE * min(1, 20 / len(names)):
        says = (
            f"Class {rows.label(names[least])} is {share:.2%} of the train examples; always saying class "
            f"{rows.label(names[counts.argmax()])} is right in {counts.max() / counts.sum():.1%}"
        )
        mend = "Judge by balanced accuracy or the recall of each class; weight the loss by class if rare ones matter"
        found.append(_note(Mechanism.A_RARE_CLASS, says, share, f"at least {RARE:.0%}", mend))
    return found


def one_target(recipe: Recipe, rows: Rows) -> list[Flaw]:
    """All train examples have the same target: nothing can be learned from them. Number: how many examples there are.

    Asked of torch's own losses, which compare with the target; a loss or a loop of one's own may have no use for it.
    """
    loss = getattr(recipe.objective, "func", recipe.objective)
    own = not str(getattr(loss, "__module__", "")).startswith("torch.nn") or recipe.loop is not None
    if own or rows.targets is None or len(rows.targets) < FEW or not (rows.targets == rows.targets[0]).all():
        return []
    return [
        Flaw(
            Cause.DATA,
            Mechanism.ONE_TARGET_FOR_ALL,
            f"All {len(rows.targets):,} train examples that were read have {_plainly(rows)}",
            float(len(rows.targets)),
            "targets that differ between examples",
            "Look at how the targets were read, from which column or folder, and whether a filter left one kind",
            "a target that differs",
            Sure.CERTAIN,
            Raises.NONE_SEEN,
        )
    ]


def _plainly(rows: Rows) -> str:
    assert rows.targets is not None
    target = rows.targets[0]
    if rows.classes:
        return f"the target {rows.label(target)}"
    shown = np.unique(rows.own_units(target[None]))
    return f"the target {shown[0]:g}" if len(shown) == 1 else f"the same {np.size(target)} targets"


def _note(mechanism: Mechanism, says: str, number: float, healthy: str, mend: str) -> Flaw:
    refuted = "a validation loss that is as low as others reach on such data"
    return Flaw(Cause.DATA, mechanism, says, number, healthy, mend, refuted, Sure.LIKELY, Raises.NONE_SEEN)


def absent_classes(train: Rows, judged: Rows) -> list[Flaw]:
    """Classes that one side lacks: number, the share of the other side's examples that are of one."""
    if not train.classes or not judged.classes or train.targets is None or judged.targets is None:
        return []
    ours, theirs = train.targets[train.targets >= 0], judged.targets[judged.targets >= 0]
    if not len(ours) or not len(theirs):
        return []
    found = []
    unseen = ~np.isin(theirs, ours)
    if unseen.mean() >= UNSEEN:
        shown = ", ".join(map(judged.label, np.unique(theirs[unseen])[:SHOWN]))
        found.append(
            Flaw(
                Cause.DATA,
                Mechanism(f"classes of {judged.split} that train lacks"),
                f"{unseen.mean():.1%} of the {judged.split} examples are of a class without a train example: {shown}",
                float(unseen.mean()),
                "0",
                "Split so that every class is trained on (stratified), or leave these examples out",
                "a model that is meant to refuse what it does not know",
                Sure.CERTAIN,
                raised_by(judged.split),
            )
        )
    names, counts = np.unique(ours, return_counts=True)
    missed = (counts / len(ours) * len(theirs) >= EXPECTED) & ~np.isin(names, theirs)
    if missed.any():
        share = float(counts[missed].sum() / len(ours))
        found.append(
            Flaw(
                Cause.DATA,
                Mechanism(f"classes of train that {judged.split} lacks"),
                f"{share:.1%} of the train examples are of classes without a {judged.split} example: "
                f"{', '.join(map(train.label, names[missed][:SHOWN]))}",
                share,
                "0",
                "Split at random or stratified: data in the order of their classes must be shuffled first",
                "classes that do not come up in use",
                Sure.MEASURED,
                Raises.NONE_SEEN,
            )
        )
    return found


def exchanged_labels(known: Opinions, judged: Rows) -> list[Flaw]:
    """Labels whose numbers mean other classes in a judged split: number, the accuracy that exchanging them gains.

    A learner fitted to train is asked; the exchange is the best assignment of its answers to the labels (Kuhn, "The
    Hungarian method", 1955).
    """
    from scipy.optimize import linear_sum_assignment

    if judged.x is None or not judged.classes:
        return []
    at = np.flatnonzero(np.isin(judged.y, known.classes))
    if len(at) < max(FEWEST, 3 * len(known.classes)):
        return []
    says, y = known.asked(judged)[at], np.searchsorted(known.classes, judged.y[at])
    count = np.zeros((len(known.classes),) * 2)
    np.add.at(count, (says, y), 1)
    said, meant = linear_sum_assignment(-count)
    before, after = float(np.trace(count) / len(at)), float(count[said, meant].sum() / len(at))
    noise = 4 * np.sqrt(known.accuracy * (1 - known.accuracy) / len(at) + 0.25 / len(at) * (before < 0.5))
    moved = (said != meant) & (count[said, meant] >= 5) & (count[said, meant] > 2 * count[said, said])
    if after - before < max(GAIN, noise) or after < OF_OWN * known.accuracy or moved.sum() < 2:
        return []
    if before > known.accuracy - max(GAIN, noise) / 2:
        return []
    shown = ", ".join(
        f"{judged.label(known.classes[a])} is called {judged.label(known.classes[b])}"
        for a, b in zip(said, meant, strict=True)
        if a != b
    )
    return [
        Flaw(
            Cause.DATA,
            Mechanism(f"classes exchanged between train and {judged.split}"),
            f"A learner fitted to train gets {before:.1%} of {judged.split} right, and {after:.1%} once the labels are "
            f"exchanged (within train {known.accuracy:.1%}): what train calls {shown}",
            after - before,
            "0",
            "Number the classes once for all splits, from one sorted list of their names; where the labels are right, "
            "look whether columns or channels of the inputs are in the same order in all splits",
            "a world in which the classes truly changed places",
            Sure.MEASURED,
            raised_by(judged.split),
        )
    ]


def neglected_classes(run: Run, known: Opinions, source: Source, judged: Rows) -> list[Flaw]:
    """A class of few examples that the model all but never finds where another learner does: number, its recall."""
    if judged.x is None or not judged.classes:
        return []
    said = _says(run, source)
    if said is None or len(said) != judged.length or len(judged.places) != judged.length:
        return []
    said, other = said[judged.kept], known.classes[known.asked(judged)]
    shares = np.bincount(known.y, minlength=len(known.classes)) / len(known.y)
    found = []
    for label, share in zip(known.classes.tolist(), shares.tolist(), strict=True):
        at = judged.y == label
        if at.sum() < FEW or share > 0.5 / len(known.classes):
            continue
        recall, theirs = float((said[at] == label).mean()), float((other[at] == label).mean())
        if recall < NEGLECTED and theirs > recall + KNOWN:
            found.append((recall, theirs, label, share))
    if not found:
        return []
    recall, theirs, label, share = min(found)
    return [
        Flaw(
            Cause.DATA,
            Mechanism.A_RARE_CLASS_IS_NEGLECTED,
            f"Class {judged.label(label)}, {share:.1%} of the train examples, is found in {recall:.0%} of its "
            f"validation examples; another learner finds {theirs:.0%}",
            recall,
            f"about {theirs:.0%}",
            "Weight the loss by class, or draw rare classes more often; train longer",
            "a run that goes on for longer and finds it",
            Sure.LIKELY,
            Raises.TRAIN,
        )
    ]


def _says(run: Run, source: Source) -> np.ndarray | None:
    """The class that a run's model says of each example of a source."""
    model, was, said = run.model, run.model.training, list[Tensor]()
    own = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    model.eval()
    try:
        with torch.no_grad():
            for batch in source.batches(0, 0, None):
                output = apply(model, to_device(batch[0], own))
                if not isinstance(output, Tensor) or output.dim() not in (1, 2):
                    return None
                said.append(output.float().cpu())
    finally:
        model.train(was)
    outputs = torch.cat(said)
    if outputs.dim() == 2 and outputs.shape[1] > 1:
        return outputs.argmax(1).numpy()
    shares = bool(((outputs >= 0) & (outputs <= 1)).all())
    return (outputs.flatten() > (0.5 if shares else 0.0)).long().numpy()
