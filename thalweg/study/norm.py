r"""norm: what becomes of batch norm in a Transformer, and of the norms that look at one position alone.

The network tags the words of a hidden Markov source (`thalweg.study.hidden_markov`), whose least loss is known. Four
norms stand in the same encoder. A batch's mean $\mu_B$ and variance $\sigma_B^2$ of a feature are the running ones only
on average: how far they swing from batch to batch is what a batch norm adds as noise, and what sets training and
evaluation apart (Shen et al., "PowerNorm: Rethinking Batch Normalization in Transformers", 2020, section 3). Here it is

$$ \sqrt{ \frac1d \sum_f \frac{\mathrm{Var}_B[\mu_{B,f}]}{\mathrm{E}_B[\sigma_{B,f}^2]} } \quad \text{and} \quad
   \sqrt{ \frac1d \sum_f \frac{\mathrm{Var}_B[\sigma_{B,f}^2]}{\mathrm{E}_B[\sigma_{B,f}^2]^2} } , $$

the root mean square over the features in front of all batch norms of a trained network, which is held still. A CNN and
an MLP on digits, in batches of as many examples, stand beside it.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from thalweg.core.errors import RecipeError
from thalweg.core.randomness import untouched
from thalweg.core.source import Splits
from thalweg.core.tokens import PADDING
from thalweg.loss import Tagging
from thalweg.nn import cnn, encoder
from thalweg.nn.sequence_norm import SequenceNorm
from thalweg.study.arms import Progress, standing_in, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import CLASSES, SIDE, digits
from thalweg.study.hidden_markov import FIRST_WORD, HiddenMarkov, hidden_markov, least_losses, sentences
from thalweg.study.interval import over_seeds
from thalweg.study.nets import deep_net
from thalweg.study.norm_picture import draw_curves, draw_leaks, draw_swings
from thalweg.study.picture import panels
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
LAYER, BATCH_NORM, POWER, RMS = NORMS = ("layer", "batch", "power", "rms")
TEXT, IMAGES, ROWS = "Transformer, words", "CNN, digits", "MLP, digits"
STATES, WORDS, LENGTHS = 5, 40, (4, 32)
WIDTH, DEPTH, BATCH, RATE, JUDGED = 32, 2, 32, 3e-3, 500
LONGER = 8
"""Positions of padding that are added, to see that they change nothing."""
LEAK, STILL = 1e-3, 1e-5
"""A change of outputs, as a share of their size, that is one for sure, and one that is rounding."""


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    epochs: int = 6,
    train: int = 1536,
    judged: int = JUDGED,
    norms: dict[str, str] | None = None,
) -> Study:
    """The same encoder with each norm; `norms` says which one truly stands in an arm, to take the effect out."""
    if train < 2 * BATCH or epochs < 1:
        raise RecipeError(
            f"train={train} and epochs={epochs}, but statistics of batches of {BATCH} are compared after training. "
            f"Give at least train={2 * BATCH}, epochs=1."
        )
    true = standing_in(NORMS, norms)
    recipe = partial(_tagger, epochs=epochs, train=train, judged=judged)
    runs = train_arms({arm: [recipe(true[arm], s) for s in seeds] for arm in NORMS}, progress, (0.0, 0.8))
    least = np.array([least_losses(_source(s), sentences(_source(s), judged, LENGTHS, s, 1))[0] for s in seeds])
    curves = {arm: _curves(own) - least[:, None] for arm, own in runs.items()}
    pictures = {
        IMAGES: [_on_digits(partial(cnn, 1, CLASSES, width=8), s, epochs, train, SIDE) for s in seeds],
        ROWS: [_on_digits(partial(deep_net, 3, WIDTH, norm=True), s, epochs, train, None) for s in seeds],
    }
    others = train_arms(pictures, progress, (0.8, 1.0))
    swings = {name: np.array([swing(run) for run in own]) for name, own in ({TEXT: runs[BATCH_NORM]} | others).items()}
    leaks = {arm: np.array([leak(true[arm], s) for s in seeds]) for arm in NORMS}
    padded = {arm: np.array([change_by_padding(true[arm], s) for s in seeds]) for arm in NORMS}
    figure, axes = panels(3)
    draw_curves(curves, axes[0])
    draw_swings(swings, axes[1])
    draw_leaks(leaks, padded, axes[2])
    return Study(
        name="norm",
        claim=STUDIES["norm"],
        question="Which norm suits a Transformer, how far do a batch's statistics swing, and who sees the future?",
        method=f"Encoders of width {WIDTH} and depth {DEPTH} tag {train} sentences of {LENGTHS[0]} to {LENGTHS[1]} "
        f"words from a hidden Markov source of {STATES} states, {epochs} epochs of Adam, batches of {BATCH}; losses "
        f"are those on {judged} others above the least that can be had; statistics are those of batches of {BATCH} "
        "in front of the batch norms of a trained network; leaks are those of an untrained causal one.",
        seeds=tuple(seeds),
        columns=("what", *NORMS, TEXT, IMAGES, ROWS),
        rows=tuple(_rows(curves, swings, leaks, padded)),
        checks=decide(curves, swings, leaks, padded),
        settings={
            "epochs": epochs, "train": train, "judged": judged, "norms": true, "width": WIDTH, "depth": DEPTH,
            "batch": BATCH, "rate": RATE, "lengths": LENGTHS,
        },
        figure=figure,
    )  # fmt: skip


def decide(
    curves: dict[str, Float[np.ndarray, "seed epoch"]],
    swings: dict[str, Float[np.ndarray, "seed 2"]],
    leaks: dict[str, Float[np.ndarray, " seed"]],
    padded: dict[str, Float[np.ndarray, " seed"]],
) -> tuple[Check, ...]:
    """Paired by seed: losses at the end, swings of mean and variance, and what later words and padding change."""
    ends = {arm: curve[:, -1] for arm, curve in curves.items()}
    swung = np.log10(swings[TEXT]) - np.log10(swings[IMAGES])
    return (
        over_seeds("loss at the end, batch - layer norm", ends[BATCH_NORM] - ends[LAYER], above=0.0),
        over_seeds("loss at the end, batch - power norm", ends[BATCH_NORM] - ends[POWER], above=0.0),
        over_seeds("log10(swing of a batch's mean, Transformer / CNN)", swung[:, 0], above=0.0),
        over_seeds("log10(swing of a batch's variance, Transformer / CNN)", swung[:, 1], above=0.0),
        over_seeds("earlier outputs changed by a later word, batch norm", leaks[BATCH_NORM], above=LEAK),
        over_seeds("earlier outputs changed by a later word, layer norm", leaks[LAYER], below=STILL),
        over_seeds("outputs changed by more padding, batch norm", padded[BATCH_NORM], below=STILL),
    )


def swing(run: Run) -> tuple[float, float]:
    """How far the mean and the variance of a batch of the train split swing in front of a trained network's norms."""
    assert run.recipe is not None
    x, _ = run.recipe.data.train
    order = torch.from_numpy(np.random.default_rng([run.recipe.seed, 73]).permutation(_count(x)))
    chosen = [order[start : start + BATCH] for start in range(0, len(order) - BATCH + 1, BATCH)]
    batches = [tuple(each[ids] for each in x) if isinstance(x, tuple) else (x[ids],) for ids in chosen]
    return swings_of(run.last, batches)


@torch.no_grad()
def swings_of(model: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> tuple[float, float]:
    """The two root mean squares above, over batches, in evaluation mode; padding is left out.

    >>> norm = nn.BatchNorm1d(1)
    >>> batches = [(torch.tensor([[0.0], [2.0]]),), (torch.tensor([[1.0], [3.0]]),)]
    >>> [round(value, 3) for value in swings_of(norm, batches)]
    [0.5, 0.0]
    """
    seen: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    def look(norm: nn.Module, given: tuple[Any, ...]) -> None:
        x = given[0].double()
        mask = given[1] if len(given) > 1 else None
        rows = x.movedim(1, -1).flatten(0, -2) if isinstance(norm, nn.modules.batchnorm._BatchNorm) else x.flatten(0, 1)
        rows = rows if mask is None else rows[mask.flatten()]
        seen.setdefault(norm, []).append((rows.mean(0), rows.var(0, correction=0)))

    inner = {module.norm for module in model.modules() if isinstance(module, SequenceNorm)}
    looked = [
        module.register_forward_pre_hook(look)
        for module in model.modules()
        if isinstance(module, SequenceNorm | nn.modules.batchnorm._BatchNorm) and module not in inner
    ]
    model.eval()
    for batch in batches:
        model(*batch)
    for handle in looked:
        handle.remove()
    means, variances = [], []
    for found in seen.values():
        mean, variance = (torch.stack(each) for each in zip(*found, strict=True))
        usual = variance.mean(0)
        alive = usual > 1e-12
        means.append((mean.var(0, correction=0) / usual)[alive])
        variances.append((variance.var(0, correction=0) / usual.square())[alive])
    return float(torch.cat(means).mean().sqrt()), float(torch.cat(variances).mean().sqrt())


@torch.no_grad()
def leak(norm: str, seed: int) -> float:
    """How much another last word changes a causal encoder's earlier outputs in training mode, as a share of them."""
    model = _started(seed, partial(_encoder, norm, causal=True))
    longest = LENGTHS[1]
    words = sentences(_source(seed), BATCH, (longest, longest), seed, 2).words
    other = words.clone()
    other[:, -1] = (words[:, -1] - FIRST_WORD + 1) % WORDS + FIRST_WORD
    return _changed(model(words)[:, :-1], model(other)[:, :-1])


@torch.no_grad()
def change_by_padding(norm: str, seed: int) -> float:
    """How much more padding changes an encoder's outputs in training mode, as a share of them."""
    model = _started(seed, partial(_encoder, norm))
    words, lengths, _ = sentences(_source(seed), BATCH, LENGTHS, seed, 2)
    longer = pad(words, (0, LONGER), value=PADDING)
    return _changed(model(words, lengths), model(longer, lengths)[:, : words.shape[1]])


def _started(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    """An untrained network in training mode; the global random stream stays where it was."""
    with untouched():
        torch.manual_seed(seed)
        return build().train()


def _changed(before: Tensor, after: Tensor) -> float:
    return float((after - before).norm() / before.norm())


def _count(x: Any) -> int:
    return len(x[0]) if isinstance(x, tuple) else len(x)


def _curves(runs: Sequence[Run]) -> Float[np.ndarray, "seed epoch"]:
    return np.array([[row["validation_loss"] for row in run.history] for run in runs])


def _rows(curves: Any, swings: Any, leaks: Any, padded: Any) -> list[tuple[Any, ...]]:
    nothing: tuple[None, ...] = (None,) * 3
    return [
        ("loss above the least at the end", *(float(curves[arm][:, -1].mean()) for arm in NORMS), *nothing),
        ("earlier outputs changed by a later word", *(float(leaks[arm].mean()) for arm in NORMS), *nothing),
        ("outputs changed by more padding", *(float(padded[arm].mean()) for arm in NORMS), *nothing),
        *(
            (f"swing of a batch's {what}", *(None,) * len(NORMS), *(float(own[:, i].mean()) for own in swings.values()))
            for i, what in enumerate(("mean", "variance"))
        ),
    ]


def _source(seed: int) -> HiddenMarkov:
    return hidden_markov(seed, states=STATES, words=WORDS)


def _encoder(norm: str, causal: bool = False) -> nn.Module:
    return encoder(
        STATES, vocabulary=FIRST_WORD + WORDS, width=WIDTH, depth=DEPTH, norm=norm, causal=causal, head="position"
    )


def _tagger(norm: str, seed: int, epochs: int, train: int, judged: int) -> Recipe:
    parts = [sentences(_source(seed), count, LENGTHS, seed, part) for part, count in enumerate((train, judged))]
    first, second = (((words, lengths), states) for words, lengths, states in parts)
    return Recipe(
        data=Splits(train=first, validation=second),
        model=partial(_encoder, norm),
        objective=Tagging(),
        optimizer=partial(torch.optim.Adam, lr=RATE),
        batch_size=BATCH,
        epochs=epochs,
        seed=seed,
    )


def _on_digits(model: Callable[[], nn.Module], seed: int, epochs: int, train: int, side: int | None) -> Recipe:
    x, y = digits(seed, train=train).train
    return Recipe(
        data=Splits(train=(x if side is None else x.view(-1, 1, side, side), y)),
        model=model,
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=RATE),
        batch_size=BATCH,
        epochs=epochs,
        seed=seed,
    )
