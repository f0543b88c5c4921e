r"""copy: what is the same in both languages need not be learned letter by letter, if it may be copied.

A network that generates only has to learn of every letter that it becomes itself, and loses names that it has not met;
one that may also point at the source, $P = g P_\mathrm{vocabulary} + (1 - g) P_\mathrm{source}$ (See et al., "Get To
The Point", 2017), has that from the beginning. It helps where source and target share a script, as English, German and
Dutch do, and cannot where they share none: no letter of an English name stands in a Russian one. The names are those of
`thalweg.data.names_splits`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes

from thalweg.data.world_names import held_in_source
from thalweg.study.arms import Progress, standing_in, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.picture import COLORS, panels
from thalweg.study.spelling import (
    CATEGORIES,
    COPYING,
    GENERATING,
    mistakes,
    name_folds,
    outputs,
    over_sources,
    pair_recipe,
)
from thalweg.study.verdict import Check, Study

SEEDS = 5
SHARED, OTHER = ("de", "nl"), "ru"
LOCALES = (*SHARED, OTHER)
NONE_LOWER = 0.02
"""The character error by which copying is lower at most where scripts are not shared."""


class Judged(NamedTuple):
    """Of every name of a locale, tested once: its edits by each arm and as it stands, its characters, what is held."""

    edits: dict[str, Int[np.ndarray, " name"]]
    untouched: Int[np.ndarray, " name"]
    length: Int[np.ndarray, " name"]
    held: float

    def gain(self, quantity: str, **bounds: float) -> Check:
        """The character error, generating minus copying."""
        return over_sources(quantity, self.edits[GENERATING] - self.edits[COPYING], self.length, **bounds)


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    epochs: int = 10,
    width: int = 48,
    rate: float = 6e-3,
    categories: str | None = CATEGORIES,
    arms: Mapping[str, str] | None = None,
) -> Study:
    """Each seed is a fold, and the initial weights of both networks that are trained without it."""
    standing = standing_in((COPYING, GENERATING), arms)
    judged = {}
    for place, locale in enumerate(LOCALES):
        window = (place / len(LOCALES), (place + 1) / len(LOCALES))
        judged[locale] = _judged(locale, standing, seeds, progress, window, categories, epochs=epochs, width=width,
                                 rate=rate)  # fmt: skip
    figure, axes = panels(2)
    draw_errors(judged, axes[0])
    draw_gains(judged, axes[1])
    return Study(
        name="copy",
        claim=STUDIES["copy"],
        question="Does a network that may copy spell names with fewer mistakes, with a shared script and without?",
        method=f"English names and those of {', '.join(LOCALES)} (Unicode CLDR; {categories or 'all'}), all of them "
        f"tested in {len(seeds)} folds. A recurrent encoder and decoder with attention, {width} units, {epochs} epochs "
        f"of AdamW at {rate:g}, with and without a gate that copies; decoded greedily. Character error: edits over "
        "characters; intervals by resampling the names.",
        seeds=tuple(seeds),
        columns=("locale", "names", "characters held in the source", "character error of the source as it stands",
                 "generating", "copying", "right, generating", "right, copying"),
        rows=tuple(_row(locale, each) for locale, each in judged.items()),
        checks=decide(judged),
        settings={"epochs": epochs, "width": width, "rate": rate, "categories": categories,
                  "arms": standing},
        figure=figure,
    )  # fmt: skip


def decide(judged: Mapping[str, Judged]) -> tuple[Check, ...]:
    """What copying saves in each locale, something or hardly anything, by networks that learned to do the task."""
    what = "character error, generating - copying"
    return (
        *(judged[locale].gain(f"{what}, {locale}", above=0.0) for locale in SHARED),
        judged[OTHER].gain(f"{what}, {OTHER}", below=NONE_LOWER),
        *(
            over_sources(f"character error, as it stands - {name}, {locale}", each.untouched - each.edits[name],
                         each.length, above=0.0)
            for locale, each in judged.items()
            for name in [COPYING if locale in SHARED else GENERATING]
        ),
    )  # fmt: skip


def draw_errors(judged: Mapping[str, Judged], ax: Axes) -> Axes:
    """The character error of both networks, and of the names as they stand, by locale."""
    for offset, color, name in ((-0.2, COLORS[1], GENERATING), (0.2, COLORS[0], COPYING)):
        found = [over_sources(name, each.edits[name], each.length) for each in judged.values()]
        values = np.array([check.value for check in found])
        error = np.abs([[check.low for check in found], [check.high for check in found]] - values)
        ax.bar(np.arange(len(found)) + offset, values, 0.38, color=color, label=name)
        ax.errorbar(np.arange(len(found)) + offset, values, error, fmt="none", ecolor="0.3", elinewidth=1)
    for place, each in enumerate(judged.values()):
        stands = each.untouched.sum() / each.length.sum()
        ax.plot([place - 0.42, place + 0.42], [stands] * 2, color="0.5", linewidth=1.5)
    ax.set_xticks(range(len(judged)), list(judged))
    ax.set(ylabel="character error")
    ax.set_title("grey: the English name as it stands", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return ax


def draw_gains(judged: Mapping[str, Judged], ax: Axes) -> Axes:
    """What copying saves against how much of the target stands in the source."""
    for color, (locale, each) in zip(COLORS[2:], judged.items(), strict=False):
        check = each.gain(locale)
        error = [[check.value - check.low], [check.high - check.value]]
        ax.errorbar([each.held], [check.value], error, fmt="o", color=color, capsize=3, label=locale)
    ax.axhline(0.0, color="0.6", linewidth=1, zorder=0)
    ax.set(xlabel="share of the target's characters in the source", ylabel="character error saved by copying")
    ax.set_xlim(-0.05, 1.05)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _judged(
    locale: str,
    standing: Mapping[str, str],
    seeds: Sequence[int],
    progress: Progress,
    window: tuple[float, float],
    categories: str | None,
    **setting: Any,
) -> Judged:
    """Both networks of each fold, on the names that they have not seen."""
    found: dict[str, list[np.ndarray]] = {COPYING: [], GENERATING: []}
    untouched, lengths, sources, targets = [], [], [], []
    parts = np.linspace(*window, 2 * len(found) - 1).tolist()
    for at, (name, arm) in enumerate(standing.items()):
        dealt = name_folds(locale, arm == COPYING, len(seeds), seeds[0], categories)
        recipes = [pair_recipe(train, seed=seed, **setting) for (train, _), seed in zip(dealt, seeds, strict=True)]
        runs = train_arms({f"{locale}, {name}": recipes}, progress, (parts[at], parts[at + 1]))
        for run, (_, test) in zip(runs[f"{locale}, {name}"], dealt, strict=True):
            found[name].append(mistakes([each.text for each in outputs(run.last, test)], test).distance)
            if name == COPYING:
                as_it_stands = mistakes(test.sources, test)
                untouched.append(as_it_stands.distance)
                lengths.append(as_it_stands.length)
                sources += test.sources
                targets += test.targets
    edits = {name: np.concatenate(several) for name, several in found.items()}
    return Judged(edits, np.concatenate(untouched), np.concatenate(lengths), held_in_source(sources, targets))


def _row(locale: str, each: Judged) -> tuple[object, ...]:
    total = each.length.sum()
    return (
        locale, len(each.length), each.held, float(each.untouched.sum() / total),
        *(float(each.edits[name].sum() / total) for name in (GENERATING, COPYING)),
        *(float((each.edits[name] == 0).mean()) for name in (GENERATING, COPYING)),
    )  # fmt: skip
