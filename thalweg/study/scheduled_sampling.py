r"""scheduled-sampling: a decoder that has only been where others led it loses its way once it goes alone.

Trained after gold prefixes alone (teacher forcing), it has never seen where its own mistakes lead. So it should go on
worse after its own prefixes than after gold ones of the same length, which is exposure bias, and less so where training
gave it wrong inputs: others of the batch, what it confuses the gold ones with, or its own, more of them the longer it
trains (Bengio et al., "Scheduled Sampling", 2015), in two passes for a Transformer (Mihaylova & Martins 2019). What is
measured is `thalweg.recipes.exposure`; the outputs are names of the world.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes

from thalweg.data import PairSource
from thalweg.loss import DECAYS, ScheduledSampling
from thalweg.nn import transformer
from thalweg.recipes.exposure import continued
from thalweg.study.arms import Progress, standing_in, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.picture import COLORS, panels
from thalweg.study.spelling import CATEGORIES, DROPOUT, mistakes, name_folds, outputs, over_sources, pair_recipe
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run, evaluate
from thalweg.training.interval import mean_interval

SEEDS = 3
LOCALE = "de"
TOKENS = 1024
GOLD, WRONG, CONFUSABLE, OWN = "gold", "wrong", "confusable", "own"
RECURRENT, TRANSFORMER = "recurrent", "Transformer"
ARMS = tuple(f"{RECURRENT}, {inputs}" for inputs in (GOLD, WRONG, CONFUSABLE, OWN)) + tuple(
    f"{TRANSFORMER}, {inputs}" for inputs in (GOLD, OWN)
)
RATES = {RECURRENT: 8e-3, TRANSFORMER: 4e-3}
HEADS = 4


class Judged(NamedTuple):
    """Of every name, tested once by a network of an arm: edits of its continuations, tokens left, edits in all.

    The first three are NaN where its own output ended within the prefix. `loss` is the plain one, in nats a token, a
    number for each fold.
    """

    gold: Float[np.ndarray, " name"]
    own: Float[np.ndarray, " name"]
    left: Float[np.ndarray, " name"]
    edits: Float[np.ndarray, " name"]
    length: Int[np.ndarray, " name"]
    loss: Float[np.ndarray, " fold"]

    @property
    def there(self) -> Bool[np.ndarray, " name"]:
        """Which names have a prefix of their own."""
        return ~np.isnan(self.left)


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    epochs: int = 10,
    width: int = 48,
    rate: float = 0.15,
    decay: str = "inverse-sigmoid",
    least_gold: float = 0.25,
    share: float = 0.5,
    categories: str | None = CATEGORIES,
    arms: Mapping[str, str] | None = None,
) -> Study:
    """Each seed is a fold, and the initial weights of all networks that are trained without it."""
    standing = standing_in(ARMS, arms)
    dealt = name_folds(LOCALE, False, len(seeds), seeds[0], categories)
    dealt = [(train.budgeted(TOKENS), test) for train, test in dealt]
    inputs: dict[str, dict[str, Any]] = {
        GOLD: {},
        WRONG: {"wrong_inputs": rate},
        CONFUSABLE: {"wrong_inputs": rate, "confusable": True},
        OWN: {"own_inputs": decay, "least_gold": least_gold},
    }
    recipes = {
        name: [
            _recipe(arm, inputs, train, width=width, epochs=epochs, seed=seed)
            for (train, _), seed in zip(dealt, seeds, strict=True)
        ]
        for name, arm in standing.items()
    }
    runs = train_arms(recipes, progress, (0.0, 0.9))
    tests = [test for _, test in dealt]
    judged = {name: _judged(several, tests, share) for name, several in runs.items()}
    progress(1.0, "decoded")
    figure, axes = panels(3)
    draw_decays(decay, least_gold, axes[0])
    draw_continuations(judged, axes[1])
    draw_errors(judged, axes[2])
    return Study(
        name="scheduled-sampling",
        claim=STUDIES["scheduled-sampling"],
        question="Does a decoder go on worse after its own prefixes, and do wrong inputs in training mend that?",
        method=f"English names and those of {LOCALE} (Unicode CLDR; {categories or 'all'}), all of them tested in "
        f"{len(seeds)} folds. A recurrent encoder and decoder with attention, {width} units, and a Transformer of one "
        f"layer, {epochs} epochs of AdamW; given gold inputs, {rate:g} wrong ones (of the batch, or confusable), or "
        f"own ones ({decay} to {least_gold:g} gold). Prefixes of {share:g} of each name, gold or own; both go on "
        "greedily. Edits of the continuations over characters left; intervals by resampling the names.",
        seeds=tuple(seeds),
        columns=("network and inputs", "names compared", "continuation error after gold prefixes",
                 "after own prefixes", "exposure bias", "character error", "loss [nats a token]"),
        rows=tuple(_row(name, each) for name, each in judged.items()),
        checks=decide(judged),
        settings={"epochs": epochs, "width": width, "rate": rate, "decay": decay, "least_gold": least_gold,
                  "share": share, "categories": categories, "arms": standing},
        figure=figure,
    )  # fmt: skip


def decide(judged: Mapping[str, Judged]) -> tuple[Check, ...]:
    """Exposure bias with gold inputs, what each other kind takes off it, and what own inputs take off all mistakes."""
    gold = {network: judged[f"{network}, {GOLD}"] for network in (RECURRENT, TRANSFORMER)}
    others = [name for name in judged if not name.endswith(GOLD)]
    return (
        exposure(f"exposure bias, {RECURRENT}, {GOLD} inputs", gold[RECURRENT], above=0.0),
        *(
            exposure(f"exposure bias, {network}, {GOLD} - {inputs}", gold[network], judged[name], above=0.0)
            for name in others
            for network, inputs in [name.split(", ")]
        ),
        *(
            over_sources(f"character error, {network}, {GOLD} - {OWN}",
                         each.edits - judged[f"{network}, {OWN}"].edits, each.length, above=0.0)
            for network, each in gold.items()
        ),
    )  # fmt: skip


def exposure(
    quantity: str, judged: Judged, less: Judged | None = None, *, above: float = -inf, below: float = inf
) -> Check:
    """A check of the exposure bias of an arm, or of that minus another's, over the names that all of them compare."""
    there = judged.there if less is None else judged.there & less.there
    worse = judged.own - judged.gold if less is None else judged.own - judged.gold - (less.own - less.gold)
    left = judged.left[there]
    value, low, high = mean_interval(worse[there] / left, left)
    return Check(quantity, value, low, high, int(there.sum()), above, below)


def draw_decays(chosen: str, least: float, ax: Axes) -> Axes:
    """The probability of gold inputs over training, by each decay; that of the study in bold."""
    steps = 1000
    for color, (name, decay) in zip(COLORS, DECAYS.items(), strict=False):
        least_here = least if least or name == "linear" else 0.01
        values = [decay(step, steps, least_here) for step in range(0, steps + 1, 10)]
        ax.plot(np.linspace(0, 1, len(values)), values, color=color, linewidth=3 if name == chosen else 1, label=name)
    ax.set(xlabel="share of training", ylabel="probability of gold inputs", ylim=(0, 1.02))
    ax.legend(frameon=False, fontsize=8)
    return ax


def draw_continuations(judged: Mapping[str, Judged], ax: Axes) -> Axes:
    """The continuation error after gold and after own prefixes, of each arm."""
    for offset, color, after in ((-0.12, COLORS[2], "gold"), (0.12, COLORS[1], "own")):
        found = [
            mean_interval(getattr(each, after)[each.there] / each.left[each.there], each.left[each.there])
            for each in judged.values()
        ]
        _points(found, offset, color, f"after {after} prefixes", ax)
    ax.set(ylabel="edits of the rest / characters left")
    _named(judged, ax)
    ax.legend(frameon=False, fontsize=8)
    return ax


def draw_errors(judged: Mapping[str, Judged], ax: Axes) -> Axes:
    """The character error of whole names, of each arm."""
    found = [over_sources("", each.edits, each.length) for each in judged.values()]
    _points([(check.value, check.low, check.high) for check in found], 0.0, COLORS[0], "", ax)
    ax.set(ylabel="character error")
    _named(judged, ax)
    return ax


def _points(found: Sequence[tuple[float, float, float]], offset: float, color: str, label: str, ax: Axes) -> None:
    value, low, high = np.array(found).T
    place = np.arange(len(found)) + offset
    ax.errorbar(place, value, [value - low, high - value], fmt="o", color=color, capsize=3, markersize=5, label=label)


def _named(judged: Mapping[str, Judged], ax: Axes) -> None:
    ax.set_xticks(range(len(judged)), [name.replace(", ", "\n") for name in judged], fontsize=6)
    ax.set_xlim(-0.5, len(judged) - 0.5)


def _recipe(
    arm: str, inputs: Mapping[str, Mapping[str, Any]], train: PairSource, *, width: int, epochs: int, seed: int
) -> Recipe:
    network, kind = arm.split(", ")
    recipe = pair_recipe(train, width=width, epochs=epochs, rate=RATES[network], seed=seed)
    if network == TRANSFORMER:
        encoding = train.encoding
        recipe = recipe.but(
            model=partial(transformer, encoding.outputs, vocabulary=len(encoding.source), width=width, depth=1,
                          heads=HEADS, dropout=DROPOUT)
        )  # fmt: skip
    return recipe.but(objective=ScheduledSampling(recipe.objective, **inputs[kind])) if inputs[kind] else recipe


def _judged(runs: Sequence[Run], tests: Sequence[PairSource], share: float) -> Judged:
    """Each fold by the network that was trained without it."""
    after = [continued(run.last, test, share) for run, test in zip(runs, tests, strict=True)]
    edited = [
        mistakes([each.text for each in outputs(run.last, test)], test) for run, test in zip(runs, tests, strict=True)
    ]
    losses = [evaluate(run, test)["loss"][0] for run, test in zip(runs, tests, strict=True)]
    return Judged(
        gold=np.concatenate([each.gold for each in after]),
        own=np.concatenate([each.own for each in after]),
        left=np.concatenate([each.left for each in after]),
        edits=np.concatenate([each.distance for each in edited]).astype(float),
        length=np.concatenate([each.length for each in edited]),
        loss=np.array(losses),
    )


def _row(name: str, each: Judged) -> tuple[object, ...]:
    left = each.left[each.there].sum()
    gold, own = (float(part[each.there].sum() / left) for part in (each.gold, each.own))
    error = float(each.edits.sum() / each.length.sum())
    return (name, int(each.there.sum()), gold, own, own - gold, error, float(each.loss.mean()))
