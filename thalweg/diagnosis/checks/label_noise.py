r"""Labels that are wrong, told apart from classes that overlap; and targets far from what all else says.

Learners that did not see an example say what its label is. Where classes overlap they err too, but they know where: of
the examples they are surest of, fewer are contradicted than of the others. A wrong label comes anywhere, so with noise
the surest are contradicted as often as the rest. With $r_1$ and $r_2$ the shares contradicted among the surest two
fifths and the next two fifths, and $c = r_1 / (1 - \sum_k \pi_k^2)$ against chance, overlapping classes were found to
have

$$ r_1 / r_2 \le \rho(c) = \max(b, b + 0.75 c - 0.1), \qquad b = 0.4 \ldots 0.5, $$

and noise on classes that learners can tell apart has a ratio of 1. How many labels are wrong is counted by confident
learning (Northcutt, Jiang & Chuang, "Confident learning: estimating uncertainty in dataset labels", 2021): with the
threshold $t_k$ of a class the mean share it is given where it is the label, an example counts as class $j$ where the
share of $j$ is the largest of those above their thresholds.
"""

import numpy as np

from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.data_rows import Rows, features
from thalweg.diagnosis.checks.opinions import Opinions
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism

PART = 0.4
BEYOND, LEAST, LEVEL, SIGNAL = 1.8, 0.02, 0.01, 0.55
"""Deviations by which the surest are contradicted beyond what overlap gives; the least share of wrong labels that is
said, surely so at this level; and the share of chance's errors beyond which the learners know too little to speak."""
SHOWN = 5
ROBUST, JUMP, FEWEST_OUTLIERS, MOST_OUTLIERS = 8.0, 3.0, 4, 0.05
"""Residuals beyond so many robust deviations, so many times the next smaller one; how many at least, and what share."""


def wrong_labels(known: Opinions, rows: Rows) -> list[Flaw]:
    """Labels that learners contradict as often where they are sure as where they are not: number, the share wrong."""
    ranks = (_by_class(known), _overall(known))
    tested = [_surest(known, rank) for rank in ranks]
    if min(beyond for beyond, _, _ in tested) < BEYOND:
        return []
    if min(low for _, low, _ in tested) < LEAST or max(chance for _, _, chance in tested) > SIGNAL:
        return []
    share, doubted, pair = confident_joint(known)
    low, high = _interval(share, len(known.y))
    names = [rows.label(number) for number in known.classes]
    shown = ", ".join(
        f"{rows.example(int(known.rows[i]))} (labelled {names[known.y[i]]}, rather {names[known.says[i]]})"
        for i in doubted[:SHOWN]
    )
    first, second = names[pair[0]], names[pair[1]]
    return [
        Flaw(
            Cause.DATA,
            Mechanism.WRONG_LABELS,
            f"About {share:.1%} of the train labels are wrong (95 %: {low:.1%} to {high:.1%}), most often {second} "
            f"labelled {first}: learners that did not see an example contradict the surest two fifths as often as the "
            f"rest. Look at {shown}{rows.numbered}",
            share,
            f"below {LEAST:.0%}",
            "Look at the doubted examples and correct or leave them out; then a loss that weighs outliers less",
            "the listed examples looked at, and labelled rightly",
            Sure.LIKELY,
            Raises.TRAIN,
        )
    ]


def _by_class(known: Opinions) -> np.ndarray:
    """The rank of each example, from 0 for the surest to 1, among those held to be of the same class."""
    margin, rank = _margin(known), np.empty(len(known.y))
    for label in np.unique(known.says):
        at = np.flatnonzero(known.says == label)
        rank[at] = _ranked(margin[at])
    return rank


def _overall(known: Opinions) -> np.ndarray:
    return _ranked(_margin(known))


def _margin(known: Opinions) -> np.ndarray:
    ordered = np.sort(known.shares, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def _ranked(margin: np.ndarray) -> np.ndarray:
    return (np.argsort(np.argsort(-margin, kind="stable"), kind="stable") + 0.5) / len(margin)


def _surest(known: Opinions, rank: np.ndarray) -> tuple[float, float, float]:
    """By how many deviations the surest are contradicted beyond overlap; surely how often; and that against chance."""
    from scipy.stats import beta

    wrong = known.says != known.y
    first, second = wrong[rank < PART], wrong[(rank >= PART) & (rank < 2 * PART)]
    often, later, count = float(first.mean()), float(second.mean()), int(first.sum())
    chance = often / float(1 - (np.bincount(known.y) / len(known.y)).__pow__(2).sum())
    base = 0.3 + 0.05 * min(known.shares.shape[1] - 2, 2)
    overlap = max(base + 0.75 * chance, base + 0.1)
    variance = often * (1 - often) / len(first) + overlap**2 * later * (1 - later) / len(second)
    low = float(beta.ppf(LEVEL, count, len(first) - count + 1)) if count else 0.0
    return (often - overlap * later) / max(variance, 1e-12) ** 0.5, low, chance


def confident_joint(known: Opinions) -> tuple[float, np.ndarray, tuple[int, int]]:
    """The share of labels that are wrong, the examples doubted from the most, and the commonest (label, class).

    >>> shares = np.repeat([[0.9, 0.1], [0.1, 0.9]], 10, axis=0)
    >>> y = np.repeat([0, 1], 10)
    >>> y[3] = 1
    >>> share, doubted, pair = confident_joint(Opinions(shares, y, np.arange(20), np.arange(2), shares, ("trees",)))
    >>> round(share, 3), doubted.tolist(), pair
    (0.05, [3], (1, 0))
    """
    count = known.shares.shape[1]
    means = np.array([known.shares[known.y == label, label].mean() for label in range(count)])
    above = np.where(known.shares >= means, known.shares, -1.0)
    confident, sure = above.argmax(1), above.max(1) >= 0
    joint = np.zeros((count, count))
    np.add.at(joint, (known.y[sure], confident[sure]), 1)
    joint *= np.bincount(known.y, minlength=count)[:, None] / np.maximum(joint.sum(1, keepdims=True), 1)
    joint /= joint.sum()
    apart = joint - np.diag(np.diag(joint))
    doubted = np.flatnonzero(sure & (confident != known.y))
    own, other = known.shares[doubted, known.y[doubted]], known.shares[doubted, confident[doubted]]
    label, meant = np.unravel_index(apart.argmax(), apart.shape)
    return float(apart.sum()), doubted[np.argsort(own - other, kind="stable")], (int(label), int(meant))


def _interval(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval."""
    centre, width = share + z**2 / (2 * n), z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return (centre - width) / (1 + z**2 / n), (centre + width) / (1 + z**2 / n)


def far_targets(rows: Rows, seed: int = 0) -> list[Flaw]:
    r"""Targets far from what trees that did not see them say: number, their share.

    Residuals are measured by their median deviation. Heavy tails go on without a gap (of a tail with exponent
    $\alpha$ the largest $k$ residuals are $g$ times the next one with probability $g^{-\alpha k}$), so targets are said
    to be outliers only where there is one.
    """
    if rows.x is None or rows.targets is None or rows.classes or rows.targets.shape[1] != 1 or len(rows.kept) < 100:
        return []
    y = rows.y[:, 0]
    if not np.isfinite(y).all() or np.unique(y, return_counts=True)[1].max() > 0.2 * len(y):
        return []
    from sklearn.ensemble import ExtraTreesRegressor

    ranked = np.argsort(np.argsort(y)) / len(y)  # trees of ranks are not moved by the outliers themselves
    x = features(rows)
    grown = int(np.clip(1e8 / (x.size + 1), 30, 100))
    trees = ExtraTreesRegressor(grown, bootstrap=True, oob_score=True, min_samples_leaf=3, random_state=seed, n_jobs=1)
    said = np.quantile(y, np.clip(trees.fit(x, ranked).oob_prediction_, 0, 1))
    residual = np.abs(y - said - np.median(y - said))
    scale = 1.4826 * float(np.median(residual))
    if scale <= 0:
        return []
    worst = np.argsort(-residual)
    ordered = residual[worst[: int(MOST_OUTLIERS * len(y)) + 2]]
    jumps = ordered[FEWEST_OUTLIERS - 1 : -1] / np.maximum(ordered[FEWEST_OUTLIERS:], scale)
    if not len(jumps) or jumps.max() < JUMP:
        return []
    count = int(jumps.argmax()) + FEWEST_OUTLIERS
    if ordered[count - 1] < ROBUST * scale:
        return []
    share = count / len(y)
    own, told = (rows.own_units(values[worst[:SHOWN], None])[:, 0] for values in (y, said))
    shown = ", ".join(
        f"{rows.example(int(i))} ({is_:.4g}, expected about {expected:.4g})"
        for i, is_, expected in zip(worst, own, told, strict=False)
    )
    return [
        Flaw(
            Cause.DATA,
            Mechanism.TARGETS_FAR_OUT,
            f"{share:.1%} of the train targets ({count}) lie {ordered[count - 1] / scale:.3g} robust deviations and "
            f"more from what the inputs say, {jumps.max():.2g} times as far as the next: {shown}{rows.numbered}",
            share,
            "0",
            "Look these examples up and correct or leave them out, or take a loss that outliers move less (Huber, L1)",
            "rare events that are real and matter",
            Sure.LIKELY,
            Raises.TRAIN,
        )
    ]
