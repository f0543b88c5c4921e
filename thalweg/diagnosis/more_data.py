"""How much more data would help: the losses of trainings on parts of the data, fitted, and as words.

Asked only where the loss falls with the data and the fit is near to what was measured, and not beyond eight times the
data: a curve through a few points tells no more.
"""

from collections.abc import Sequence

import numpy as np

from thalweg.core.randomness import stream_seed
from thalweg.measure.learning_curve import FEWEST, learning_curve
from thalweg.training.evaluate import ExampleLosses

FARTHEST, QUOTED = 8, 4
"""So many times the data a number of examples is told at most; and what so many times would bring, where no aim is."""
DRAWS, LEVEL = 40, 0.9
"""A curve through few points takes noise for its floor, so that 90 % are held only by the range of all draws."""
SUBSETS = 1.5**0.5
"""A mean of two seeds scatters by 1 / sqrt(2) of a run, and which part of the data was drawn about as a seed does."""
ROUGH = 0.15
"""A fit that misses by so much of the fall that was measured is none."""

Scored = Sequence[Sequence[ExampleLosses]]


def more_data(sizes: Sequence[int], scored: Scored, aim: float | None) -> str | None:
    """About how many training examples would bring the loss to `aim`, or what four times as many would bring.

    The second is told where no aim is given, or it is reached. `scored` holds for each size the losses of its seeds,
    all on the same examples. The interval of 90 % is that of curves fitted to resampled examples (or units) and to runs
    that scatter as these do. None where the sizes are fewer than three, the loss does not fall, or the fit is rough.

    >>> def flat(loss):
    ...     return [ExampleLosses(np.full(50, loss), np.ones(50), None)]
    >>> sizes = (100, 200, 400)
    >>> more_data(sizes, [flat(0.1 + 2 * n**-0.5) for n in sizes], 0.15)
    'about 1,600 training examples (1,600 to 1,600 at 90 %) would bring it to 0.15'
    >>> more_data(sizes, [flat(0.1 + 2 * n**-0.5) for n in sizes], 0.1)
    'to bring it to 0.1 would take more than 3,200 training examples'
    """
    means = [float(np.mean([losses.mean()[0] for losses in own])) for own in scored]
    if len(set(sizes)) < FEWEST or not np.isfinite(means).all():
        return None
    curve = learning_curve(sizes, means)
    fell = means[int(np.argmin(sizes))] - means[int(np.argmax(sizes))]
    if curve.scale <= 0 or fell <= 0 or curve.error > ROUGH * fell:
        return None
    drawn = [learning_curve(sizes, losses) for losses in _resampled(scored)]
    most = max(sizes)
    if aim is None or aim >= min(means):
        brought = [each.predicts(QUOTED * most) for each in drawn]
        low, high = min(brought), max(brought)
        told = f"{curve.predicts(QUOTED * most):.3g} ({low:.3g} to {high:.3g} at {LEVEL:.0%})".replace("%", " %")
        return f"{QUOTED * most:,} training examples would bring it to about {told}"
    counts = np.sort([_counted(each.needed(aim)) for each in drawn])
    low, high = float(counts[0]), float(counts[-1])
    limit, needed = FARTHEST * most, _counted(curve.needed(aim))
    if min(needed, high) > limit:
        least = (
            f"more than {_rounded(low)} training examples" if low < limit else f"more than {limit:,} training examples"
        )
        return f"to bring it to {aim:.3g} would take {least}"
    upto = f"to {_rounded(high)}" if high <= limit else f"or more than {limit:,}"
    about = _rounded(needed) if needed <= limit else f"{limit:,} or more"
    return (
        f"about {about} training examples ({_rounded(low)} {upto} at {LEVEL * 100:.0f} %) would bring it to {aim:.3g}"
    )


def _resampled(scored: Scored) -> list[list[float]]:
    """Mean losses for each size, of resampled units, times what another run on other data would change."""
    scatter, freedom = _scatter(scored)
    random = np.random.default_rng(stream_seed(0, "more data"))
    units = scored[0][0].units
    which = np.arange(len(scored[0][0].values)) if units is None else np.unique(units, return_inverse=True)[1]
    found = []
    for _ in range(DRAWS):
        often = random.multinomial(which.max() + 1, np.full(which.max() + 1, 1 / (which.max() + 1)))[which]
        means = [
            np.mean([np.average(each.values, weights=each.weights * often + 1e-12) for each in own]) for own in scored
        ]
        found.append([float(mean * np.exp(SUBSETS * scatter * random.standard_t(freedom))) for mean in means])
    return found


def _scatter(scored: Scored) -> tuple[float, int]:
    """The deviation of the logarithm of a run's mean loss over the seeds of all sizes, and by how many it is known."""
    logarithms = [np.log([max(losses.mean()[0], 1e-12) for losses in own]) for own in scored]
    freedom = sum(len(own) - 1 for own in logarithms)
    deviation = float(np.sqrt(sum(((own - own.mean()) ** 2).sum() for own in logarithms) / max(freedom, 1)))
    return deviation, max(freedom, 1)


def _counted(needed: int | None) -> float:
    return float("inf") if needed is None else float(needed)


def _rounded(count: float) -> str:
    """A number of examples to two digits.

    >>> _rounded(12345.0)
    '12,000'
    """
    return f"{float(f'{count:.2g}'):,.0f}"
