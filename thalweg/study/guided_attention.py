r"""guided-attention: told to read at an even pace, attention finds its place sooner, where there is such a place.

A decoder with attention learns two things at once, what to say and where to look, and cannot learn either well without
the other: as long as it looks everywhere it can only guess. The loss of Tachibana et al. (2017, section 4.1) tells it
where to look while it does not know: near the diagonal. Location-aware attention (Chorowski et al. 2015) knows where it
looked before, and lacks that. The task is speech in small: each sign of a text is a run of noisy frames, of a length of
its own, so that it is known which frames a token is to be read from. Where the text is to be said backwards, the same
advice is wrong.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from torch import Tensor

from thalweg.core.arrays import ArraySource
from thalweg.core.source import Splits
from thalweg.core.tokens import END, MARKS, NO_TARGET, START
from thalweg.loss import Tagging
from thalweg.measure import monotony
from thalweg.nn import rnn_seq2seq
from thalweg.optim import Cosine, WarmUp
from thalweg.study.arms import Progress, standing_in, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.interval import over_seeds
from thalweg.study.picture import BAND, COLORS, panels, seed_bar, whole_numbers
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
SIGNS, FEATURES, NOISE = 8, 8, 0.5
LENGTHS, FRAMES = (4, 9), (2, 7)
"""Signs of a text and frames of a sign, from and up to, which is not reached."""
JUDGED, BATCH = 200, 32
CLIP, WARM = 1.0, 0.1
SLACK = 1.5
"""Strides that `monotony` lets pass."""
CONTENT, LOCATION, BACKWARDS = "by content", "by location", "backwards"
GUIDED = ", guided"
ARMS = tuple(task + guided for task in (CONTENT, LOCATION, BACKWARDS) for guided in ("", GUIDED))
SOONER, THERE = 0.0, 0.0


class Spoken(NamedTuple):
    """Inputs and targets of a model, and which frames each token is to be read from."""

    x: dict[str, Tensor]
    y: Int[Tensor, "text token"]
    own: Bool[Tensor, "text token frame"]


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
    epochs: int = 8,
    width: int = 32,
    rate: float = 8e-3,
    guided: float = 30.0,
    arms: Mapping[str, str] | None = None,
) -> Study:
    """Each seed draws its own signs and texts, which all arms read."""
    standing = standing_in(ARMS, arms)
    recipes: dict[str, list[Recipe]] = {}
    tests: dict[str, list[Spoken]] = {}
    for name, arm in standing.items():
        read = [[spoken(count, seed, arm.startswith(BACKWARDS), part) for part, count in enumerate((train, JUDGED))]
                for seed in seeds]  # fmt: skip
        strength = guided if arm.endswith(GUIDED) else 0.0
        attention = "location" if arm.startswith(LOCATION) else "additive"
        recipes[name] = [
            _recipe(each[0], each[1], attention, strength, width=width, epochs=epochs, rate=rate, seed=seed)
            for each, seed in zip(read, seeds, strict=True)
        ]
        tests[name] = [each[1] for each in read]
    runs = train_arms(recipes, progress, (0.0, 0.95))
    found = {name: _judged(own, tests[name]) for name, own in runs.items()}
    progress(1.0, "judged")
    figure, axes = panels(3)
    draw_losses(found, axes[0])
    draw_place(found, axes[1])
    draw_map(runs[CONTENT + GUIDED][0], tests[CONTENT + GUIDED][0], axes[2])
    return Study(
        name="guided-attention",
        claim=STUDIES["guided-attention"],
        question="Does attention that is told to read evenly find its place sooner, and what if that is wrong?",
        method=f"Texts of {LENGTHS[0]} to {LENGTHS[1] - 1} of {SIGNS} signs, each a run of {FRAMES[0]} to "
        f"{FRAMES[1] - 1} frames of {FEATURES} numbers around those of the sign, with noise of {NOISE:g}; {train} to "
        f"train on, {JUDGED} to judge by. A recurrent encoder and decoder, {width} units, {epochs} epochs of AdamW at "
        f"{rate:g}, with additive or location-aware attention, without and with {guided:g} times the guided-attention "
        "loss; and with additive attention where the text is to be said backwards.",
        seeds=tuple(seeds),
        columns=("attention", "mean loss over the epochs", "loss at the end", "attention in its place", "tokens right",
                 "alignments that go forward"),
        rows=tuple(
            (name, float(each.losses.mean()), float(each.losses[:, -1].mean()), float(each.there.mean()),
             float(each.right.mean()), float(each.forward.mean()))
            for name, each in found.items()
        ),
        checks=decide(found),
        settings={"train": train, "epochs": epochs, "width": width, "rate": rate, "guided": guided, "arms": standing},
        figure=figure,
    )  # fmt: skip


def decide(found: Mapping[str, Judged]) -> tuple[Check, ...]:
    """From what was judged, paired by seed: losses are means over the epochs, so that what is lower was so sooner."""
    mean = {name: each.losses.mean(1) for name, each in found.items()}
    there = {name: each.there for name, each in found.items()}
    return (
        over_seeds("loss over the epochs, by content, plain - guided", mean[CONTENT] - mean[CONTENT + GUIDED],
                   above=SOONER),
        over_seeds("attention in its place, by content, guided - plain", there[CONTENT + GUIDED] - there[CONTENT],
                   above=THERE),
        over_seeds("gain of attention in its place, by content - by location",
                   there[CONTENT + GUIDED] - there[CONTENT] - there[LOCATION + GUIDED] + there[LOCATION], above=THERE),
        over_seeds("loss over the epochs, backwards, guided - plain", mean[BACKWARDS + GUIDED] - mean[BACKWARDS],
                   above=SOONER),
    )  # fmt: skip


def spoken(count: int, seed: int, backwards: bool = False, part: int = 0) -> Spoken:
    """Texts as frames: the same signs for all parts of a seed, and texts of their own.

    >>> said = spoken(2, seed=0)
    >>> said.x["source"].shape[2], said.own.sum(1).max().item(), said.own.any(1).sum(1).equal(said.x["lengths"])
    (8, 1, True)
    """
    signs = np.random.default_rng(seed).normal(size=(SIGNS, FEATURES))
    random = np.random.default_rng((seed, part + 1))
    texts = [random.integers(SIGNS, size=random.integers(*LENGTHS)) for _ in range(count)]
    runs = [random.integers(*FRAMES, size=len(text)) for text in texts]
    lengths = [int(each.sum()) for each in runs]
    steps, frames = max(map(len, texts)) + 1, max(lengths)
    source = torch.zeros(count, frames, FEATURES)
    prefix, y = torch.zeros(count, steps, dtype=torch.int64), torch.full((count, steps), NO_TARGET)
    own = torch.zeros(count, steps, frames, dtype=torch.bool)
    for row, (text, run) in enumerate(zip(texts, runs, strict=True)):
        clean = np.repeat(signs[text], run, axis=0)
        source[row, : lengths[row]] = torch.from_numpy(clean + NOISE * random.normal(size=clean.shape)).float()
        said = (text[::-1] if backwards else text) + len(MARKS)
        prefix[row, : len(text) + 1] = torch.tensor([START, *said])
        y[row, : len(text) + 1] = torch.tensor([*said, END])
        ends = np.cumsum(run)
        for step in range(len(text)):
            place = len(text) - 1 - step if backwards else step
            own[row, step, ends[place] - run[place] : ends[place]] = True
    return Spoken({"source": source, "lengths": torch.tensor(lengths), "prefix": prefix}, y, own)


def draw_losses(found: Mapping[str, Judged], ax: Axes) -> Axes:
    """The judged loss by epoch: the mean of the seeds and the interval of that mean, dashed where it is guided."""
    for place, (name, each) in enumerate(found.items()):
        color, epochs = COLORS[place // 2], np.arange(1, each.losses.shape[1] + 1)
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
    for place, each in enumerate(found.values()):
        seed_bar(ax, place, each.there, 0.7, color=COLORS[place // 2], alpha=0.9 if place % 2 else 0.45)
    ax.set_xticks(range(len(found)), [name.replace(", ", ",\n") for name in found], fontsize=6)
    ax.set(ylabel="attention in its place", ylim=(0, 1.05))
    return ax


def draw_map(run: Run, test: Spoken, ax: Axes) -> Axes:
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


def _recipe(
    train: Spoken,
    judged: Spoken,
    attention: str,
    guided: float,
    *,
    width: int,
    epochs: int,
    rate: float,
    seed: int,
) -> Recipe:
    return Recipe(
        data=Splits(ArraySource((train.x, train.y), BATCH), ArraySource((judged.x, judged.y), None)),
        model=partial(rnn_seq2seq, len(MARKS) + SIGNS, inputs=FEATURES, width=width, attention=attention),
        objective=Tagging(guided=guided),
        optimizer=partial(torch.optim.AdamW, lr=rate),
        schedule=WarmUp(WARM, then=Cosine()),
        batch_size=BATCH,
        clip_norm=CLIP,
        epochs=epochs,
        seed=seed,
    )


@torch.no_grad()
def _weights(run: Run, test: Spoken) -> Float[Tensor, "text token frame"]:
    """Where each step looked, along the right text."""
    model: Any = run.last.eval()
    weights: Tensor = model.aligned(**test.x)[1]
    return weights


@torch.no_grad()
def _judged(runs: Sequence[Run], tests: Sequence[Spoken]) -> Judged:
    found = [_judge(run, test) for run, test in zip(runs, tests, strict=True)]
    losses = np.array([[row["validation_loss"] for row in run.history] for run in runs])
    return Judged(losses, *np.array(found).T)


def _judge(run: Run, test: Spoken) -> tuple[float, float, float]:
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
