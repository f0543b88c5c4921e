r"""Whether inputs and targets belong together: a permutation test of two quick learners on a sample of each split.

Neighbours and ridge regression say of each example what the others say of it, which is a matrix $W$ with a diagonal of
zeros, whatever the targets $T$ are. So one matrix serves all permutations $\pi$:

$$ s = \langle T, W T \rangle, \qquad z = (s - \overline{s_\pi}) / \mathrm{sd}(s_\pi). $$

Data that no such learner can read, or that hold nothing to learn, have $z$ near 0 as well: alone it proves nothing, and
nothing is said. Said is where the targets fit once moved by some rows, or where one split fits and the other does not.
"""

import torch
from torch import Tensor

from thalweg.core.nest import leaves
from thalweg.core.source import Indexed, Source
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.examined import Examined, asking, streams_kept, unloaded
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.training.build import open_split

SAMPLE, FEWEST = 600, 150
NEIGHBOURS, WIDEST, WORDS = 7, 200, 200
PERMUTATIONS = 40
CLEAR, NOTHING = 8.0, 3.0
"""z of a relation beyond doubt, and of none."""
MOVED = (1, -1, 2, -2, 3, -3)


def pairing_flaws(e: Examined) -> list[Flaw]:
    """Targets that fit the inputs once moved by some rows; a split whose pairs fit, beside one whose do not."""
    if not e.tensors or e.whole or not ((e.classes and e.y.dim() == 1) or (e.numbers and e.y[0].numel() <= 8)):
        return []
    with streams_kept(e.recipe.data.train):
        train = _sample(e, e.source)
    if train is not None and (flaw := _moved(train, e)) is not None:
        return [flaw]
    if e.recipe.data.validation is None:
        return []
    validation = unloaded(open_split(e.recipe, e.recipe.data.validation, "validation"))
    with streams_kept(e.recipe.data):
        own, theirs = _sample(e, e.source, mixed=True), _sample(e, validation, mixed=True)
    if own is None or theirs is None:
        return []
    first, second = (_relation([_neighbours(s[0]), _ridge(s[0])], s[1], e) for s in (own, theirs))
    if first < NOTHING and second > CLEAR:
        return [_apart("train", "validation", first, second)]
    if second < NOTHING and first > CLEAR and 2 * len(theirs[1]) >= len(own[1]):
        return [_apart("validation", "train", second, first)]
    return []


def _moved(sample: tuple[Tensor, Tensor], e: Examined) -> Flaw | None:
    """A relation that is clear once the targets are moved, and is not there as they are."""
    x, y = sample
    weights = [_neighbours(x), _ridge(x)]
    own = _relation(weights, y, e)
    if own > NOTHING:
        return None
    shifts = {shift: _relation(weights, y.roll(shift, 0), e) for shift in MOVED}
    best = max(shifts, key=lambda shift: shifts[shift])
    return _shifted(best, own, shifts[best]) if shifts[best] > CLEAR else None


def _sample(e: Examined, source: Source, mixed: bool = False) -> tuple[Tensor, Tensor] | None:
    """Features and targets of some hundred examples, the first in their own order or any; None for too few."""
    if mixed:
        if not isinstance(source, Indexed):
            return None
        source = source.take(torch.randperm(len(source), generator=e.generator("sample"))[:SAMPLE].sort().values)
    xs: list[Tensor] = []
    ys: list[Tensor] = []
    with asking():
        for x, y in source.batches(0, 0, None):
            xs.append(torch.cat([_numbers(leaf) for leaf in leaves(x)], 1).cpu())
            ys.append(y.cpu())
            if sum(map(len, ys)) >= SAMPLE:
                break
        targets = torch.cat(ys)[:SAMPLE]
        if len(targets) < FEWEST:
            return None
        features = torch.cat(xs)[:SAMPLE]
    if features.shape[1] > WIDEST:
        projection = torch.randn(features.shape[1], WIDEST, generator=e.generator("projection"))
        features = (features - features.mean(0)) @ projection / features.shape[1] ** 0.5
    features = (features - features.mean(0)) / features.std(0).clamp_min(1e-6)
    if not targets.is_floating_point():
        targets = torch.nn.functional.one_hot(targets.long())
    targets = targets.reshape(len(targets), -1).float()
    if not bool((targets != targets[:1]).any()):
        return None
    return features, (targets - targets.mean(0)) / targets.std(0).clamp_min(1e-6)


def _numbers(leaf: Tensor) -> Tensor:
    """A row of numbers for each example; of whole numbers how often each of the small ones occurs, too."""
    rows = leaf.reshape(len(leaf), -1)
    if leaf.is_floating_point() or rows.shape[1] < 2:
        return rows.float()
    words = torch.nn.functional.one_hot(rows.long().clamp(0, WORDS - 1), WORDS).sum(1)
    return torch.cat([rows.float(), words.float()], 1)


def _neighbours(x: Tensor) -> Tensor:
    apart = torch.cdist(x, x)
    apart.fill_diagonal_(float("inf"))
    near = apart.topk(min(NEIGHBOURS, len(x) - 1), largest=False).indices
    return torch.zeros(len(x), len(x)).scatter_(1, near, 1.0 / near.shape[1])


def _ridge(x: Tensor) -> Tensor:
    """Ridge regression as each example is told by the others: the hat matrix without its diagonal."""
    gram = x @ x.T
    n, penalty = len(x), 0.1 * float(gram.diagonal().mean()) + 1e-6
    hat = torch.linalg.solve(gram + penalty * torch.eye(n), gram)
    spread = (1 - hat.diagonal()).clamp_min(1e-3)
    hat.fill_diagonal_(0.0)
    return hat / spread[:, None]


def _relation(weights: list[Tensor], targets: Tensor, e: Examined) -> float:
    """The larger z of the learners."""
    draw = e.generator("permutations")
    orders = [torch.randperm(len(targets), generator=draw) for _ in range(PERMUTATIONS)]
    best = 0.0
    for weight in weights:
        chance = torch.stack([_agreement(weight, targets[order]) for order in orders])
        best = max(best, float((_agreement(weight, targets) - chance.mean()) / chance.std().clamp_min(1e-9)))
    return best


def _agreement(weight: Tensor, targets: Tensor) -> Tensor:
    return (targets * (weight @ targets)).sum()


def _shifted(shift: int, own: float, found: float) -> Flaw:
    return Flaw(
        Cause.WIRING,
        Mechanism.TARGETS_MOVED_BY_SOME_ROWS,
        f"Learners of neighbours and of ridge regression find nothing in the pairs as they are (z = {own:.1f}), and "
        "a clear "
        f"relation once the targets are moved by {shift:+d} (z = {found:.1f})",
        float(shift),
        "a relation in the pairs as they are",
        "Look where inputs and targets are read: a header, a dropped row, a file left out on one side",
        "a learner that does better on the pairs as they are",
        Sure.MEASURED,
    )


def _apart(broken: str, sound: str, none: float, found: float) -> Flaw:
    return Flaw(
        Cause.WIRING,
        Mechanism.INPUTS_AND_TARGETS_APART,
        f"Quick learners find no relation of inputs and targets in the {broken} split (z = {none:.1f}), and a clear "
        "one in the "
        f"{sound} split (z = {found:.1f}): there they were shuffled or sorted apart, or hold something else",
        none,
        f"z as in the {sound} split",
        f"Shuffle inputs and targets of the {broken} split by one permutation, and read them in one order",
        f"a learner that finds a relation in the {broken} split",
        Sure.MEASURED,
        Raises.TRAIN if broken == "train" else Raises.VALIDATION,
    )
