r"""reward: what is judged cannot be differentiated, and can be trained for all the same.

A likelihood asks for every token behind a gold prefix; BLEU looks at what the network itself puts out. Trained for that
as its reward, the network is an agent whose actions are tokens: self-critical training follows REINFORCE with the
reward of the likeliest output as baseline (Rennie et al. 2017), minimum-risk training the expected reward of a subset
(Shen et al. 2016). Both begin with a network that the likelihood has trained. Beside them the likelihood goes on for as
many updates: what these alone would have brought is no gain of the reward. The names are those of the world.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import nn

from thalweg.data import PairSource
from thalweg.loss import Tagging
from thalweg.measure.reward import REWARDS
from thalweg.optim import Cosine
from thalweg.recipes.rewarding import rewarded
from thalweg.study.arms import Progress, standing_in, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.picture import COLORS, panels
from thalweg.study.spelling import CATEGORIES, SMOOTHING, mistakes, name_folds, outputs, over_sources, pair_recipe
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run
from thalweg.training.evaluate import example_losses

SEEDS = 3
BEFORE, LIKELIHOOD, CRITICAL, RISK = "before", "likelihood", "self-critical", "minimum-risk"
ARMS = (LIKELIHOOD, CRITICAL, RISK)
REWARD, UNIT = "bleu", "characters"


class Judged(NamedTuple):
    """Of every name, tested once: BLEU and the nats of its target, edits to it, and its tokens and characters."""

    bleu: Float[np.ndarray, " name"]
    nats: Float[np.ndarray, " name"]
    edits: Float[np.ndarray, " name"]
    tokens: Float[np.ndarray, " name"]
    characters: Float[np.ndarray, " name"]

    @property
    def scores(self) -> tuple[float, float, float, float]:
        """BLEU, character error, share that is right, nats a token."""
        return (
            float(self.bleu.mean()),
            float(self.edits.sum() / self.characters.sum()),
            float((self.edits == 0).mean()),
            float(self.nats.sum() / self.tokens.sum()),
        )


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    locale: str = "de",
    epochs: int = 15,
    further: int = 3,
    width: int = 48,
    rate: float = 6e-3,
    rewarded_rate: float = 3e-4,
    samples: int = 5,
    categories: str | None = CATEGORIES,
    arms: Mapping[str, str] | None = None,
) -> Study:
    """Each seed is a fold, and a network that is trained without it, which every arm trains further."""
    standing = standing_in(ARMS, arms)
    dealt = name_folds(locale, True, len(seeds), seeds[0], categories)
    begun = [
        pair_recipe(train, width=width, epochs=epochs, rate=rate, seed=seed)
        for (train, _), seed in zip(dealt, seeds, strict=True)
    ]
    runs = {BEFORE: train_arms({BEFORE: begun}, progress, (0.0, 0.3))[BEFORE]}
    after = {
        name: [further_recipe(run, standing[name], epochs=further, rate=rewarded_rate, samples=samples)
               for run in runs[BEFORE]]
        for name in ARMS
    }  # fmt: skip
    runs |= train_arms(after, progress, (0.3, 0.95))
    judged = {name: judge(own, [test for _, test in dealt]) for name, own in runs.items()}
    progress(1.0, "decoded")
    figure, axes = panels(2)
    draw_gains(judged, axes[0])
    draw_trade(judged, axes[1])
    return Study(
        name="reward",
        claim=STUDIES["reward"],
        question="Does training for BLEU raise it, beyond what as many updates of the likelihood do, and at what cost?",
        method=f"English names of the world and those in '{locale}' (Unicode CLDR; {categories or 'all'}), each tested "
        f"once in {len(seeds)} folds. A recurrent network with attention that may copy, {width} units, {epochs} epochs "
        f"of AdamW at {rate:g}; then {further} epochs at {rewarded_rate:g}, falling by a cosine, of the likelihood, or "
        f"of the reward alone, sentence BLEU of characters, by {samples} samples of each name. Last weights, decoded "
        "greedily; intervals by resampling the names.",
        seeds=tuple(seeds),
        columns=("trained", "BLEU", "character error", "right", "nats a token"),
        rows=tuple((name, *each.scores) for name, each in judged.items()),
        checks=decide(judged),
        settings={"locale": locale, "epochs": epochs, "further": further, "width": width, "rate": rate,
                  "rewarded_rate": rewarded_rate, "samples": samples, "categories": categories, "arms": standing},
        figure=figure,
    )  # fmt: skip


def further_recipe(run: Run, arm: str, *, epochs: int, rate: float, samples: int) -> Recipe:
    """The training that goes on from the last weights of a run, for its likelihood or for the reward by a method."""
    assert run.recipe is not None
    likelihood = Tagging(label_smoothing=SMOOTHING)
    encoding = run.recipe.data.train.encoding
    worth = REWARDS[REWARD](UNIT)
    objective = (
        likelihood
        if arm == LIKELIHOOD
        else rewarded(likelihood, encoding, worth, name=REWARD, method=arm, samples=samples)
    )
    return run.recipe.but(
        model=partial(begun_with, run.recipe.model, run.last.state_dict()),
        objective=objective,
        optimizer=partial(torch.optim.AdamW, lr=rate),
        schedule=Cosine(),
        epochs=epochs,
    )


def begun_with(factory: Any, state: Mapping[str, Any]) -> nn.Module:
    """A model of a factory with these weights."""
    model: nn.Module = factory()
    model.load_state_dict(state)
    return model


def judge(runs: Sequence[Run], tests: Sequence[PairSource]) -> Judged:
    """All folds behind each other, each by its own run."""
    worth = REWARDS[REWARD](UNIT)
    found = []
    for run, test in zip(runs, tests, strict=True):
        texts = [each.text for each in outputs(run.last, test)]
        formed = [test.encoding.formed(text) for text in texts]
        bleu = [max(worth(text, other) for other in several)
                for text, several in zip(formed, test.formed_references(), strict=True)]  # fmt: skip
        edited = mistakes(texts, test)
        assert run.recipe is not None
        losses = example_losses(run.last, run.recipe, test, torch.device("cpu"))
        nats = losses.values * losses.weights
        found.append((bleu, nats, edited.distance, losses.weights, edited.length))
    return Judged(*(np.concatenate(parts).astype(float) for parts in zip(*found, strict=True)))


def decide(judged: Mapping[str, Judged]) -> tuple[Check, ...]:
    """Of the same names, before and after, and beside what the likelihood alone went on to."""
    before, likelihood = judged[BEFORE], judged[LIKELIHOOD]
    one = np.ones(len(before.bleu), dtype=np.int64)
    checks = []
    for name in (CRITICAL, RISK):
        own = judged[name]
        checks += [
            over_sources(f"BLEU, {name} - before", own.bleu - before.bleu, one, above=0.0),
            over_sources(f"BLEU, {name} - likelihood", own.bleu - likelihood.bleu, one, above=0.0),
        ]
    worse, tokens = judged[CRITICAL].nats - likelihood.nats, before.tokens.astype(np.int64)
    checks.append(over_sources(f"nats a token, {CRITICAL} - likelihood", worse, tokens, above=0.0))
    return tuple(checks)


def draw_gains(judged: Mapping[str, Judged], ax: Axes) -> Axes:
    """The BLEU that each arm adds to what there was before, with its interval."""
    before = judged[BEFORE]
    one = np.ones(len(before.bleu), dtype=np.int64)
    for place, (name, color) in enumerate(zip(ARMS, COLORS, strict=False)):
        check = over_sources(name, judged[name].bleu - before.bleu, one)
        reach = [[check.value - check.low], [check.high - check.value]]
        ax.errorbar(place, check.value, reach, fmt="o", color=color, capsize=4)
    ax.axhline(0, color="#4d4d4d", linewidth=0.8)
    ax.set_xticks(range(len(ARMS)), ARMS)
    ax.set_xlim(-0.5, len(ARMS) - 0.5)
    ax.set_ylabel("BLEU of characters, after - before")
    return ax


def draw_trade(judged: Mapping[str, Judged], ax: Axes) -> Axes:
    """BLEU by nats a token: where each arm ended."""
    for (name, each), color in zip(judged.items(), (COLORS[5], *COLORS), strict=False):
        bleu, _, _, nats = each.scores
        ax.plot(nats, bleu, "o", color=color, label=name)
    ax.set(xlabel="nats a token of what was wanted", ylabel="BLEU of characters")
    ax.margins(0.2)
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return ax
