r"""beam: looking for the likeliest output is not looking for the best one.

A beam of width 1 is greedy search, one without end finds the output that a model holds likeliest. A likelihood of many
factors below 1 falls with every token, so that the likeliest outputs are too short, the more so the better one
searches; divided by the length, $\log p(y \mid x) / |y|$, that is made up for (Wu et al. 2016, equation 14). What the
search adds beyond that is soon little: models are trained to be right, not to rank all outputs (Koehn & Knowles, "Six
Challenges for Neural Machine Translation", 2017, section 3.6; Stahlberg & Byrne, "On NMT Search Errors and Model
Errors", 2019). The outputs are Russian names of the world.
"""

from collections.abc import Sequence
from time import process_time
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from thalweg.data import PairSource
from thalweg.study.arms import Progress, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels
from thalweg.study.spelling import CATEGORIES, mistakes, name_folds, outputs, pair_recipe
from thalweg.study.verdict import Check, Study
from thalweg.training import Run

SEEDS = 5
LOCALE = "ru"
WIDTHS = (1, 2, 4, 8, 32)
ENOUGH = 4
LIKELIHOOD, MEAN = "log-likelihood", "mean over tokens"
PENALTIES = {LIKELIHOOD: 0.0, MEAN: 1.0}
"""What outputs are ranked by, as the exponent of their length that the log-likelihood is divided by."""
CLOCK = ("processor time of a name [ms]", "processor time, widest / greedy")
FOUND, DEARER, SHORTER, MENDED, NO_FEWER = 0.0, 2.0, 0.0, 0.0, 0.005


class Scores(NamedTuple):
    """Of each seed and width: what the best outputs are, in nats, characters over the targets' and edits over them."""

    score: Float[np.ndarray, "seed width"]
    log_likelihood: Float[np.ndarray, "seed width"]
    length: Float[np.ndarray, "seed width"]
    error: Float[np.ndarray, "seed width"]
    seconds: Float[np.ndarray, "seed width"]


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    widths: tuple[int, ...] = WIDTHS,
    epochs: int = 10,
    width: int = 48,
    rate: float = 6e-3,
    categories: str | None = CATEGORIES,
) -> Study:
    """Each seed is a fold, a network that is trained without it, and the names of that fold in all widths."""
    dealt = name_folds(LOCALE, False, len(seeds), seeds[0], categories)
    recipes = [
        pair_recipe(train, width=width, epochs=epochs, rate=rate, seed=seed)
        for (train, _), seed in zip(dealt, seeds, strict=True)
    ]
    runs = train_arms({LOCALE: recipes}, progress, (0.0, 0.6))[LOCALE]
    tests = [test for _, test in dealt]
    scores = {name: _scores(runs, tests, widths, penalty) for name, penalty in PENALTIES.items()}
    progress(1.0, "decoded")
    figure, axes = panels(3)
    draw(
        widths,
        {name: each.log_likelihood for name, each in scores.items()},
        "log-likelihood of the best [nats]",
        axes[0],
    )
    draw(widths, {name: each.length for name, each in scores.items()}, "characters put out / wanted", axes[1])
    draw(widths, {name: each.error for name, each in scores.items()}, "character error", axes[2])
    return Study(
        name="beam",
        claim=STUDIES["beam"],
        question="What does a wider beam find, what does it cost, and is it better?",
        method=f"Names of the world in '{LOCALE}' (Unicode CLDR; {categories or 'all'}), in {len(seeds)} folds, each "
        f"decoded by a recurrent network with attention that was trained without it, {width} units, {epochs} epochs of "
        f"AdamW at {rate:g}; the best finished output of each width, ranked by its log-likelihood or by the mean of "
        "that over the tokens.",
        seeds=tuple(seeds),
        columns=("ranked by", "width", "mean best score", "log-likelihood [nats]", "characters put out / wanted",
                 "character error", CLOCK[0]),
        rows=tuple(
            (name, beam, *(float(values[:, place].mean()) for values in each[:4]),
             1e3 * float(np.median(each.seconds[:, place])))
            for name, each in scores.items()
            for place, beam in enumerate(widths)
        ),
        checks=decide(widths, scores),
        settings={"widths": widths, "epochs": epochs, "width": width, "rate": rate, "categories": categories},
        figure=figure,
        clock=CLOCK,
    )  # fmt: skip


def decide(widths: Sequence[int], scores: dict[str, Scores]) -> tuple[Check, ...]:
    """From what was found by width, paired by seed: the first width is greedy, the last the widest."""
    likely, mean = scores[LIKELIHOOD], scores[MEAN]
    enough = list(widths).index(ENOUGH)

    def change(values: Float[np.ndarray, "seed width"]) -> Float[np.ndarray, " seed"]:
        found: Float[np.ndarray, " seed"] = values[:, -1] - values[:, 0]
        return found

    return (
        over_seeds("log-likelihood of the best, widest - greedy", change(likely.log_likelihood), above=FOUND),
        over_seeds(CLOCK[1], likely.seconds[:, -1] / likely.seconds[:, 0], above=DEARER),
        over_seeds("characters, greedy - widest, by log-likelihood", -change(likely.length), above=SHORTER),
        over_seeds("characters, widest by the mean - widest by log-likelihood",
                   mean.length[:, -1] - likely.length[:, -1], above=MENDED),
        over_seeds(f"character error, greedy - {ENOUGH}, by the mean", mean.error[:, 0] - mean.error[:, enough],
                   above=0.0),
        over_seeds(f"character error, {ENOUGH} - widest, by the mean", mean.error[:, enough] - mean.error[:, -1],
                   below=NO_FEWER),
    )  # fmt: skip


def draw(widths: Sequence[int], values: dict[str, Float[np.ndarray, "seed width"]], what: str, ax: Axes) -> Axes:
    """A quantity by the width of the beam, for both rankings: the mean of the seeds, and the interval of that mean."""
    for color, (name, each) in zip(COLORS, values.items(), strict=False):
        found = [over_seeds(what, column) for column in each.T]
        ax.plot(widths, [check.value for check in found], "o-", color=color, markersize=4, label=name)
        ax.fill_between(widths, [check.low for check in found], [check.high for check in found], color=color,
                        alpha=0.12, linewidth=0)  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.set_xticks(widths, [str(width) for width in widths])
    ax.set(xlabel="width of the beam", ylabel=what)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _scores(runs: Sequence[Run], tests: Sequence[PairSource], widths: Sequence[int], penalty: float) -> Scores:
    """All widths for each fold, in turn."""
    found = np.array(
        [[_found(run, test, width, penalty) for width in widths] for run, test in zip(runs, tests, strict=True)]
    )
    return Scores(*np.moveaxis(found, 2, 0))


def _found(run: Run, test: PairSource, width: int, penalty: float) -> list[float]:
    started = process_time()
    best = outputs(run.last, test, width, penalty)
    seconds = process_time() - started
    edited = mistakes([each.text for each in best], test)
    return [
        float(np.mean([each.score for each in best])),
        float(np.mean([each.log_likelihood for each in best])),
        sum(len(each.text) for each in best) / max(1, int(edited.length.sum())),
        edited.rate,
        seconds / len(test),
    ]
