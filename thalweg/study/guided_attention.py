r"""guided-attention: told to read at an even pace, attention finds its place sooner, where there is such a place.

A decoder with attention learns two things at once, what to say and where to look, and cannot learn either well without
the other: as long as it looks everywhere it can only guess. The loss of Tachibana et al. (2017, section 4.1) tells it
where to look while it does not know: near the diagonal. Location-aware attention (Chorowski et al. 2015) knows where it
looked before, and lacks that. Two tasks go along with their source (`thalweg.study.aligned`): speech in small, where
each sign of a text is a run of noisy frames of a length of its own, and words that are spelled, to be put out as their
sounds. In both it is known which positions a token is to be read from. Where a text is to be said backwards, the same
advice is wrong.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from thalweg.core.arrays import ArraySource
from thalweg.core.source import Splits
from thalweg.core.tokens import END, NO_TARGET
from thalweg.loss import Tagging
from thalweg.measure import monotony
from thalweg.nn import rnn_seq2seq
from thalweg.optim import Cosine, WarmUp
from thalweg.study.aligned import (
    FEATURES,
    FRAMES,
    LENGTHS,
    LETTER_TOKENS,
    NOISE,
    SIGN_TOKENS,
    SIGNS,
    SOUND_TOKENS,
    Aligned,
    spelled,
    spoken,
)
from thalweg.study.arms import Progress, standing_in, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.interval import over_seeds
from thalweg.study.picture import BAND, COLORS, panels, seed_bar, whole_numbers
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
JUDGED, BATCH = 200, 32
CLIP, WARM = 1.0, 0.1
SLACK = 1.5
"""Strides that `monotony` lets pass."""
CONTENT, LOCATION, BACKWARDS = "speech by content", "speech by location", "speech backwards"
SPELLING, SPELLING_LOCATION = "spelling by content", "spelling by location"
SPELLED = (SPELLING, SPELLING_LOCATION)
TASKS = (CONTENT, LOCATION, BACKWARDS, *SPELLED)
GUIDED = ", guided"
ARMS = tuple(task + guided for task in TASKS for guided in ("", GUIDED))
SOONER, THERE = 0.0, 0.0


class Judged(NamedTuple):
    """Of each seed: the judged loss by epoch, and at the end the attention that lies in its place, tokens that are
    right, and alignments that go forward through all of the source.
    """

    losses: Float[np.ndarray, "seed epoch"]
    there: Float[np.ndarray, " seed"]
    right: Float[np.ndarray, " seed"]
    forward: Float[np.ndarray, " seed"]


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    train: int = 480,
    words: int = 400,
    epochs: int = 8,
    width: int = 32,
    rate: float = 8e-3,
    guided: float = 30.0,
    guided_spelling: float = 10.0,
    arms: Mapping[str, str] | None = None,
) -> Study:
    """Each seed draws its own signs and texts, and its own words, which all arms of a task read."""
    standing = standing_in(ARMS, arms)
    recipes: dict[str, list[Recipe]] = {}
    tests: dict[str, list[Aligned]] = {}
    for name, arm in standing.items():
        task = arm.removesuffix(GUIDED)
        strength = (guided_spelling if task in SPELLED else guided) if arm != task else 0.0
        read = [_read(task, words if task in SPELLED else train, seed) for seed in seeds]
        recipes[name] = [
            _recipe(own, judged, task, strength, width=width, epochs=epochs, rate=rate, seed=seed)
            for (own, judged), seed in zip(read, seeds, strict=True)
        ]
        tests[name] = [judged for _, judged in read]
    runs = train_arms(recipes, progress, (0.0, 0.95))
    found = {name: _judged(own, tests[name]) for name, own in runs.items()}
    progress(1.0, "judged")
    figure, axes = panels(4)
    draw_losses(found, (CONTENT, LOCATION, BACKWARDS), axes[0])
    draw_losses(found, SPELLED, axes[1])
    draw_place(found, axes[2])
    draw_map(runs[CONTENT + GUIDED][0], tests[CONTENT + GUIDED][0], axes[3])
    return Study(
        name="guided-attention",
        claim=STUDIES["guided-attention"],
        question="Does attention that is told to read evenly find its place sooner, and what if that is wrong?",
        method=f"Speech: texts of {LENGTHS[0]} to {LENGTHS[1] - 1} of {SIGNS} signs, each a run of {FRAMES[0]} to "
        f"{FRAMES[1] - 1} frames of {FEATURES} numbers around those of the sign, with noise of {NOISE:g}; {train} to "
        f"train on. Spelling: words of Spanish names of the world (Unicode CLDR) to the sounds of their letters, "
        f"{words} to train on. {JUDGED} others to judge by. A recurrent encoder and decoder, {width} units, {epochs} "
        f"epochs of AdamW at {rate:g}, with additive or location-aware attention, without the loss of guided attention "
        f"and with it, {guided:g} times for speech, {guided_spelling:g} times for spelling; and with additive "
        "attention where the text is to be said backwards.",
        seeds=tuple(seeds),
        columns=("attention", "mean loss over the epochs", "loss at the end", "attention in its place", "tokens right",
                 "alignments that go forward"),
        rows=tuple(
            (name, float(each.losses.mean()), float(each.losses[:, -1].mean()), float(each.there.mean()),
             float(each.right.mean()), float(each.forward.mean()))
            for name, each in found.items()
        ),
        checks=decide(found),
        settings={"train": train, "words": words, "epochs": epochs, "width": width, "rate": rate, "guided": guided,
                  "guided_spelling": guided_spelling, "arms": standing},
        figure=figure,
    )  # fmt: skip


def decide(found: Mapping[str, Judged]) -> tuple[Check, ...]:
    """From what was judged, paired by seed: losses are means over the epochs, so that what is lower was so sooner."""
    mean = {name: each.losses.mean(1) for name, each in found.items()}
    there = {name: each.there for name, each in found.items()}
    sooner = {task: mean[task] - mean[task + GUIDED] for task in TASKS}
    nearer = {task: there[task + GUIDED] - there[task] for task in TASKS}
    return (
        over_seeds("loss over the epochs, speech by content, plain - guided", sooner[CONTENT], above=SOONER),
        over_seeds("attention in its place, speech by content, guided - plain", nearer[CONTENT], above=THERE),
        over_seeds("gain of attention in its place, speech, by content - by location",
                   nearer[CONTENT] - nearer[LOCATION], above=THERE),
        over_seeds("loss over the epochs, speech backwards, guided - plain", -sooner[BACKWARDS], above=SOONER),
        over_seeds("loss over the epochs, spelling by content, plain - guided", sooner[SPELLING], above=SOONER),
        over_seeds("attention in its place, spelling by content, guided - plain", nearer[SPELLING], above=THERE),
    )  # fmt: skip


def draw_losses(found: Mapping[str, Judged], tasks: Sequence[str], ax: Axes) -> Axes:
    """The judged loss by epoch: the mean of the seeds and the interval of that mean, dashed where it is guided."""
    for place, name in enumerate(task + guided for task in tasks for guided in ("", GUIDED)):
        each = found[name]
        color, epochs = COLORS[TASKS.index(tasks[place // 2])], np.arange(1, each.losses.shape[1] + 1)
        checks = [over_seeds(name, column) for column in each.losses.T]
        ax.plot(epochs, [check.value for check in checks], "--" if place % 2 else "-", color=color, label=name)
        ax.fill_between(epochs, [check.low for check in checks], [check.high for check in checks], color=color,
                        alpha=BAND, linewidth=0)  # fmt: skip
    ax.set(xlabel="epoch", ylabel="loss of new texts [nats a token]")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=7, loc="lower left")
    whole_numbers(ax)
    return ax


def draw_place(found: Mapping[str, Judged], ax: Axes) -> Axes:
    """The share of the attention that lies on the frames of its own token: the mean, and a dot a seed."""
    for place, name in enumerate(ARMS):
        seed_bar(ax, place, found[name].there, 0.7, color=COLORS[place // 2], alpha=0.9 if place % 2 else 0.45)
    ax.set_xticks(np.arange(len(TASKS)) * 2 + 0.5, [task.replace(" ", "\n", 1) for task in TASKS], fontsize=7)
    ax.set(ylabel="attention in its place", ylim=(0, 1.05))
    return ax


def draw_map(run: Run, test: Aligned, ax: Axes) -> Axes:
    """The attention of one text that was guided by content; a line is around the frames of each token."""
    row = int(test.x["lengths"].argmax())
    weights = _weights(run, test)[row].numpy()
    steps, count = int((test.y[row] >= 0).sum()), int(test.x["lengths"][row])
    ax.imshow(weights[:steps, :count], aspect="auto", cmap="Blues", interpolation="nearest")
    for step in range(steps - 1):
        frames = test.own[row, step].nonzero()[:, 0]
        first, last = int(frames[0]) - 0.5, int(frames[-1]) + 0.5
        ax.plot([first, last, last, first, first], [step - 0.5, step - 0.5, step + 0.5, step + 0.5, step - 0.5],
                color=COLORS[1], linewidth=0.8)  # fmt: skip
    ax.set(xlabel="frame", ylabel="token")
    ax.set_title("by content, guided: one text", fontsize=10)
    return ax


def _read(task: str, train: int, seed: int) -> tuple[Aligned, Aligned]:
    """What a task is trained on and judged by."""
    if task in SPELLED:
        first, second = spelled((train, JUDGED), seed)
        return first, second
    first, second = (spoken(count, seed, task == BACKWARDS, part) for part, count in enumerate((train, JUDGED)))
    return first, second


def _recipe(
    train: Aligned,
    judged: Aligned,
    task: str,
    guided: float,
    *,
    width: int,
    epochs: int,
    rate: float,
    seed: int,
) -> Recipe:
    network = (
        partial(rnn_seq2seq, SOUND_TOKENS, vocabulary=LETTER_TOKENS)
        if task in SPELLED
        else partial(rnn_seq2seq, SIGN_TOKENS, inputs=FEATURES)
    )
    attention = "location" if task in (LOCATION, SPELLING_LOCATION) else "additive"
    return Recipe(
        data=Splits(ArraySource((train.x, train.y), BATCH), ArraySource((judged.x, judged.y), None)),
        model=partial(network, width=width, attention=attention),
        objective=Tagging(guided=guided),
        optimizer=partial(torch.optim.AdamW, lr=rate),
        schedule=WarmUp(WARM, then=Cosine()),
        batch_size=BATCH,
        clip_norm=CLIP,
        epochs=epochs,
        seed=seed,
    )


@torch.no_grad()
def _weights(run: Run, test: Aligned) -> Float[Tensor, "text token frame"]:
    """Where each step looked, along the right text."""
    model: Any = run.last.eval()
    weights: Tensor = model.aligned(**test.x)[1]
    return weights


@torch.no_grad()
def _judged(runs: Sequence[Run], tests: Sequence[Aligned]) -> Judged:
    found = [_judge(run, test) for run, test in zip(runs, tests, strict=True)]
    losses = np.array([[row["validation_loss"] for row in run.history] for run in runs])
    return Judged(losses, *np.array(found).T)


def _judge(run: Run, test: Aligned) -> tuple[float, float, float]:
    scores, weights = run.last.eval()(**test.x), _weights(run, test)
    token = (test.y != NO_TARGET) & (test.y != END)
    right = scores.argmax(2)[token] == test.y[token]
    steps, lengths = (test.y != NO_TARGET).sum(1).tolist(), test.x["lengths"].tolist()
    forward = [
        monotony(weights[row, :count, :length], slack=SLACK).monotonic
        for row, (count, length) in enumerate(zip(steps, lengths, strict=True))
    ]
    there = (weights * test.own).sum(2)[token]
    return float(there.mean()), float(right.float().mean()), float(np.mean(forward))
