r"""multi-label: a set of labels as a sequence, or each label by itself.

Independent sigmoids know of each label how likely it is; where labels depend on each other, given the text, the
likeliest labels need not be the likeliest *set*. A sequence, $p(Y \mid x) = \prod_t p(l_t \mid x, l_1 \ldots l_{t-1})$,
knows what goes together (Yang et al., "SGM", 2018; classifier chains: Read et al. 2009). So which is better depends on
what counts: whole sets are right where the joint mode is found, single labels where the marginal ones are (Dembczyński
et al., "On Label Dependence and Loss Minimization in Multi-Label Classification", 2012, section 4). The texts are such
that it is known what can be known of them (`thalweg.study.label_worlds`).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import nn

from thalweg.core.tokens import MARKS
from thalweg.data import PairSchema, PairSource
from thalweg.loss import IndependentLabels
from thalweg.nn import rnn
from thalweg.recipes.output_forms import form_scores
from thalweg.study.arms import Progress, standing_in, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.interval import over_seeds
from thalweg.study.label_worlds import WORLDS, texts_with_labels
from thalweg.study.picture import COLORS, panels, seed_bar
from thalweg.study.spelling import DROPOUT, TOKENS, outputs, pair_recipe
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe

SEEDS = 5
SEQUENCE, RANDOM, SIGMOIDS = "sequence, by frequency", "sequence, at random", "sigmoids"
ARMS = (SEQUENCE, RANDOM, SIGMOIDS)
DEPENDENT, INDEPENDENT = WORLDS
MORE, AS_MANY = 0.1, 0.05
"""How much more of the sets are right at least where labels depend on each other, and at most where they do not."""
JUDGED = 600


class Scores(NamedTuple):
    """Of each seed: the share of sets that are right, F1 over all decisions, and decisions that are wrong."""

    exact: Float[np.ndarray, " seed"]
    micro: Float[np.ndarray, " seed"]
    hamming: Float[np.ndarray, " seed"]


Found = Mapping[str, Mapping[str, Scores]]
"""By world and arm."""


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    train: int = 2000,
    epochs: int = 8,
    width: int = 48,
    rate: float = 6e-3,
    judged: int = JUDGED,
    arms: Mapping[str, str] | None = None,
) -> Study:
    """Each seed draws its own bundles and texts; all arms read the same ones."""
    every = standing_in(ARMS, arms)
    setting: dict[str, Any] = {"width": width, "epochs": epochs, "rate": rate}
    found: dict[str, dict[str, Scores]] = {}
    for place, world in enumerate(WORLDS):
        standing = {name: arm for name, arm in every.items() if world == INDEPENDENT or name != RANDOM}
        read = {
            name: [_source(world, seed, train, shuffled=arm == RANDOM) for seed in seeds]
            for name, arm in standing.items()
        }
        recipes = {
            name: [_recipe(arm, source, seed, **setting) for source, seed in zip(read[name], seeds, strict=True)]
            for name, arm in standing.items()
        }
        window = (place / len(WORLDS), (place + 1) / len(WORLDS))
        runs = train_arms(recipes, progress, window)
        found[world] = {}
        for name, arm in standing.items():
            tests = [
                PairSource.of(texts_with_labels(world, judged, seed, 500 + seed), source.encoding)
                for source, seed in zip(read[name], seeds, strict=True)
            ]
            found[world][name] = _scores(arm, [run.last for run in runs[name]], tests)
    figure, axes = panels(2)
    draw(found, "exact", "sets that are right", axes[0])
    draw(found, "hamming", "single decisions that are wrong", axes[1])
    return Study(
        name="multi-label",
        claim=STUDIES["multi-label"],
        question="Does it help to put labels out one after the other, where they depend on each other and where not?",
        method=f"{train} texts of 8 words with sets of 12 labels: of bundles, of which a text leaves open which one it "
        f"is, or apart, each likely by itself. A recurrent encoder of {width} units, and on it a decoder with "
        "attention that puts out labels by their frequency or (apart) in a random order, decoded greedily, no label "
        f"twice, or a linear layer and a sigmoid for each label, taken from .5 on; {epochs} epochs of AdamW at "
        f"{rate:g}; {judged} new texts.",
        seeds=tuple(seeds),
        columns=("labels", "network", "sets right", "micro F1", "Hamming loss"),
        rows=tuple(
            (world, name, *(float(values.mean()) for values in each))
            for world, arms_of in found.items()
            for name, each in arms_of.items()
        ),
        checks=decide(found),
        settings={"train": train, **setting, "judged": judged, "arms": every},
        figure=figure,
    )


def decide(found: Found) -> tuple[Check, ...]:
    """What the sequence gains in whole sets and loses in single labels, and what its order does; paired by seed."""
    joint, single = found[DEPENDENT][SEQUENCE], found[DEPENDENT][SIGMOIDS]
    apart = found[INDEPENDENT]
    return (
        over_seeds("sets right, sequence - sigmoids, bundles", joint.exact - single.exact, above=MORE),
        over_seeds("Hamming loss, sequence - sigmoids, bundles", joint.hamming - single.hamming, above=0.0),
        over_seeds("sets right, sequence - sigmoids, apart", apart[SEQUENCE].exact - apart[SIGMOIDS].exact,
                   above=-AS_MANY, below=AS_MANY),
        over_seeds("sets right, by frequency - at random, apart", apart[SEQUENCE].exact - apart[RANDOM].exact,
                   above=0.0),
    )  # fmt: skip


def draw(found: Found, what: str, label: str, ax: Axes) -> Axes:
    """A score by world and network: the mean, and a dot a seed."""
    for number, (color, name) in enumerate(zip((COLORS[0], COLORS[2], COLORS[1]), ARMS, strict=True)):
        for place, world in enumerate(WORLDS):
            if name not in found[world]:
                continue
            values = getattr(found[world][name], what)
            at = place + 0.27 * (number - 1)
            seed_bar(ax, at, values, 0.25, color=color, label=name if world == INDEPENDENT else None)
    ax.set_xticks(range(len(WORLDS)), ["labels in bundles", "labels apart"])
    ax.set(ylabel=label)
    ax.set_ylim(0, 1.25 * ax.get_ylim()[1])
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return ax


def _source(world: str, seed: int, train: int, *, shuffled: bool) -> PairSource:
    schema = PairSchema(unit=("words", "words"), output="set", label_order="given" if shuffled else "frequency")
    frame = texts_with_labels(world, train, seed, seed, shuffled=shuffled)
    return PairSource.unfitted(frame, schema, tokens=TOKENS).fit(range(train))


def _recipe(arm: str, source: PairSource, seed: int, *, width: int, epochs: int, rate: float) -> Recipe:
    """The sequence's, or the same encoder with an output for each label."""
    recipe = pair_recipe(source, width=width, epochs=epochs, rate=rate, seed=seed)
    if arm != SIGMOIDS:
        return recipe
    encoding = source.encoding
    encoder = partial(
        rnn,
        encoding.outputs,
        vocabulary=len(encoding.source),
        width=width,
        cell="gru",
        bidirectional=True,
        dropout=DROPOUT,
    )
    return recipe.but(model=encoder, objective=IndependentLabels())


def _scores(arm: str, models: Sequence[nn.Module], tests: Sequence[PairSource]) -> Scores:
    rows = []
    for model, test in zip(models, tests, strict=True):
        texts = likely_labels(model, test) if arm == SIGMOIDS else [each.text for each in outputs(model, test)]
        scores = form_scores(texts, test, range(len(test)))
        rows.append([scores[name][0] for name in ("exact_match", "micro_f1", "hamming_loss")])
    return Scores(*np.array(rows).T)


@torch.no_grad()
def likely_labels(model: nn.Module, source: PairSource) -> list[str]:
    """The labels of each source that are likelier than not, each by itself."""
    x = source.inputs(torch.arange(len(source)))
    logits = model.eval()(x["source"], x["lengths"])
    logits[:, : len(MARKS)] = -torch.inf
    return [source.text(row.nonzero()[:, 0].tolist(), place) for place, row in enumerate(logits > 0)]
