r"""rnn-vs-attention: what a step costs by the length, and from how far back the first token is still known.

Between two positions at a distance of n a recurrent network has n steps, each of which may forget, and its gradient has
to come back all of them; attention has one, at the price of $n^2$ comparisons (Vaswani et al., "Attention Is All You
Need", 2017, table 1; Hochreiter & Schmidhuber 1997 on what gradients do on the way). Local attention compares only
neighbours, and sees no further than layers x window. The task: symbols at random, then a token that asks for the first.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from time import process_time

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thalweg.core.randomness import untouched
from thalweg.core.source import Splits
from thalweg.nn import encoder, rnn
from thalweg.optim import Cosine
from thalweg.study.arms import Progress, accuracy, loss, train_arms, tuned_rate, tuning_seeds
from thalweg.study.catalogue import STUDIES
from thalweg.study.interval import over_seeds
from thalweg.study.operations import multiply_adds
from thalweg.study.picture import COLORS, panels
from thalweg.study.sequence_tasks import FIRST, recall
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
SYMBOLS, BATCH, TEST, WINDOW, DEPTH = 8, 16, 500, 12, 2
RATES = (3e-3, 1e-2, 3e-2)
DISTANCES = (4, 16, 48)
ATTENTION, LOCAL, LSTM, GRU = "attention", "local attention", "LSTM", "GRU"
_transformer = partial(encoder, SYMBOLS, vocabulary=FIRST + SYMBOLS, width=32, depth=DEPTH, heads=2, pool="last")
_recurrent = partial(rnn, SYMBOLS, vocabulary=FIRST + SYMBOLS)
ARMS: dict[str, Callable[[], nn.Module]] = {
    ATTENTION: _transformer,
    LOCAL: partial(_transformer, window=WINDOW),
    LSTM: partial(_recurrent, cell="lstm", width=56),
    GRU: partial(_recurrent, cell="gru", width=64),
}
ALIKE, KNOWN, AHEAD, GUESSED, FASTER, LINEAR = 1.1, 0.9, 0.3, (0.0, 0.25), 1.5, (0.9, 1.1)
ROUNDS, TIMED = 3, 2
"""Interleaved rounds of timing, of which the fastest counts, and the sequences of a timed step."""
CLOCK = ("time per step [ms]", "growth of the time", "time per step at the longest, attention / LSTM")


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    steps: int = 240,
    distances: tuple[int, int, int] = DISTANCES,
    lengths: tuple[int, ...] = (64, 256, 1024),
    rates: Sequence[float] = RATES,
) -> Study:
    """Each network at each distance has a rate of its own, tuned on a seed that is not judged."""
    trained = {
        (name, distance): partial(_recipe, make, distance=distance, steps=steps)
        for (name, make), distance in product(ARMS.items(), distances)
    }
    best = _tune(trained, tuning_seeds(seeds, 1), rates, progress, (0.0, 0.45))
    recipes = {
        f"{name}, {distance} back": [make(best[name, distance], seed) for seed in seeds]
        for (name, distance), make in trained.items()
    }
    runs = list(train_arms(recipes, progress, (0.45, 0.95)).values())
    right = np.array([[_accuracy(run) for run in arm] for arm in runs]).reshape(len(ARMS), len(distances), -1)
    scores = dict(zip(ARMS, right, strict=True))
    counts = np.array([[multiply_adds(make(), _tokens(length)) for length in lengths] for make in ARMS.values()])
    times = np.array([_seconds(seed, lengths) for seed in seeds])
    progress(1.0, "time per step")
    weights = {name: sum(parameter.numel() for parameter in make().parameters()) for name, make in ARMS.items()}
    figure, axes = panels(3)
    draw_recall(distances, scores, axes[0])
    draw_growth(lengths, counts / 1e6, "multiply-adds of a pass [million]", axes[1])
    draw_growth(lengths, np.median(times, 0) * 1e3, "processor time of a step [ms]", axes[2])
    return Study(
        name="rnn-vs-attention",
        claim=STUDIES["rnn-vs-attention"],
        question="From how far back is the first token known, at equal parameters and steps, and how does a step grow?",
        method=f"Recurrent networks of one layer and encoders of {DEPTH} (window {WINDOW} where local) say which of "
        f"{SYMBOLS} symbols came first; {steps} steps of Adam on batches of {BATCH} new sequences, a cosine from a "
        "rate tuned for each network at each distance. Multiply-adds are those of a forward pass for a sequence, times "
        f"the least processor times of {ROUNDS} interleaved gradients of {TIMED} sequences; growth is the exponent "
        f"between lengths of {lengths[-2]} and {lengths[-1]}.",
        seeds=tuple(seeds),
        columns=("network", "parameters", "tuned rates", *(f"{distance} back" for distance in distances),
                 "multiply-adds [million]", "growth", *CLOCK[:2]),
        rows=tuple(
            (name, weights[name], ", ".join(f"{best[name, distance]:.2g}" for distance in distances),
             *scores[name].mean(1).tolist(), counts[place, -1] / 1e6,
             growth(lengths, counts[place]), float(np.median(times[:, place, -1])) * 1e3,
             growth(lengths, np.median(times[:, place], 0)))
            for place, name in enumerate(ARMS)
        ),
        checks=decide(scores, weights, lengths, counts, times),
        settings={"steps": steps, "distances": distances, "lengths": lengths, "rates": tuple(rates), "window": WINDOW},
        figure=figure,
        clock=CLOCK,
    )  # fmt: skip


def decide(
    scores: dict[str, Float[np.ndarray, "distance seed"]],
    weights: dict[str, int],
    lengths: Sequence[int],
    counts: Float[np.ndarray, "arm length"] | np.ndarray,
    times: Float[np.ndarray, "seed arm length"],
) -> tuple[Check, ...]:
    """From accuracies, paired by seed, counted multiply-adds, and times of each arm, in the order of `ARMS`."""
    seeds, places = scores[ATTENTION].shape[1], {name: place for place, name in enumerate(ARMS)}
    ratio = max(weights.values()) / min(weights.values())
    near, far = (np.array([values[place] for values in scores.values()]) for place in (0, -1))
    recurrent = far[[places[LSTM], places[GRU]]].max(0)
    grown = {name: growth(lengths, counts[place]) for name, place in places.items()}
    (guess_low, guess_high), (low, high) = GUESSED, LINEAR
    longest = times[:, :, -1]
    return (
        over_seeds("accuracy at the farthest, attention - the better of LSTM and GRU",
                   far[places[ATTENTION]] - recurrent, above=AHEAD),
        over_seeds("accuracy at the farthest, attention", far[places[ATTENTION]], above=KNOWN),
        over_seeds("accuracy at the nearest, the worst of four", near.min(0), above=KNOWN),
        over_seeds("accuracy beyond layers x window, local attention", far[places[LOCAL]],
                   above=guess_low, below=guess_high),
        over_seeds("parameters, most / fewest", [ratio] * seeds, below=ALIKE),
        over_seeds("growth of the multiply-adds, attention", [grown[ATTENTION]] * seeds, above=FASTER),
        *(over_seeds(f"growth of the multiply-adds, {name}", [grown[name]] * seeds, above=low, below=high)
          for name in (LOCAL, LSTM, GRU)),
        over_seeds(CLOCK[2], longest[:, places[ATTENTION]] / longest[:, places[LSTM]], above=1.0),
    )  # fmt: skip


def growth(lengths: Sequence[int], values: Sequence[float] | np.ndarray) -> float:
    """The exponent a of values that grow as length^a, between the last two lengths.

    >>> growth((10, 20), (100.0, 400.0))
    2.0
    """
    return float(np.log(values[-1] / values[-2]) / np.log(lengths[-1] / lengths[-2]))


def draw_recall(distances: Sequence[int], scores: dict[str, Float[np.ndarray, "distance seed"]], ax: Axes) -> Axes:
    """The accuracy by how far back the first token is: mean of the seeds, and all of them."""
    for color, (name, values) in zip(COLORS, scores.items(), strict=False):
        ax.plot(distances, values.mean(1), "o-", color=color, markersize=4, label=name)
        ax.fill_between(distances, values.min(1), values.max(1), color=color, alpha=0.12, linewidth=0)
    ax.axhline(1 / SYMBOLS, color="0.6", linewidth=1, zorder=0)
    ax.set_xscale("log", base=2)
    ax.set_xticks(distances, [str(distance) for distance in distances])
    ax.set(xlabel="how far back the first token is", ylabel="accuracy", ylim=(0, 1.05))
    ax.set_title("grey: a guess", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 0.12))
    return ax


def draw_growth(lengths: Sequence[int], values: Float[np.ndarray, "arm length"], what: str, ax: Axes) -> Axes:
    """A cost by length on logarithmic axes, with the exponent of its last part."""
    for color, name, row in zip(COLORS, ARMS, values, strict=False):
        ax.plot(lengths, row, "o-", color=color, markersize=4, label=f"{name}: n^{growth(lengths, row):.2f}")
    ax.set(xscale="log", yscale="log", xlabel="length n", ylabel=what)
    ax.set_xticks(lengths, [str(length) for length in lengths])
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return ax


def _tune(
    trained: Mapping[tuple[str, int], Callable[[float, int], Recipe]],
    seeds: Sequence[int],
    rates: Sequence[float],
    progress: Progress,
    window: tuple[float, float],
) -> dict[tuple[str, int], float]:
    """The best rate of each network at each distance: what is best near need not be so far back."""
    best: dict[tuple[str, int], float] = {}
    parts = np.linspace(*window, len(trained) + 1).tolist()
    for (name, distance), make in trained.items():

        def trial(rate: float, make: Callable[[float, int], Recipe] = make) -> list[Recipe]:
            return [make(rate, seed) for seed in seeds]

        part = (parts[len(best)], parts[len(best) + 1])
        best[name, distance] = tuned_rate(f"{name}, {distance} back", rates, trial, progress, part, _test_loss)
    return best


def _seconds(seed: int, lengths: Sequence[int]) -> list[list[float]]:
    """The least processor time of a gradient of each network at each length, taking turns."""
    with untouched():
        torch.manual_seed(seed)
        nets = [make().train() for make in ARMS.values()]
    taken = np.zeros((ROUNDS, len(nets), len(lengths)))
    for number in range(ROUNDS):
        for at, length in enumerate(lengths):
            tokens = _tokens(length)
            for place, net in enumerate(nets):
                started = process_time()
                cross_entropy(net(tokens), tokens[:, 0] - FIRST).backward()
                taken[number, place, at] = process_time() - started
    least: list[list[float]] = taken.min(0).tolist()
    return least


def _tokens(length: int) -> Tensor:
    return recall(TIMED, length - 1, SYMBOLS, seed=0)[0]


def _recipe(make: Callable[[], nn.Module], rate: float, seed: int, *, distance: int, steps: int) -> Recipe:
    return Recipe(
        data=Splits(
            train=recall(steps * BATCH, distance, SYMBOLS, seed * 10 + 1),
            test=recall(TEST, distance, SYMBOLS, seed * 10 + 2),
        ),
        model=make,
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=rate),
        schedule=Cosine(floor=0.01),
        batch_size=BATCH,
        epochs=1,
        seed=seed,
    )


def _accuracy(run: Run) -> float:
    assert run.recipe is not None
    return accuracy(run.last, run.recipe.data.test)


def _test_loss(run: Run) -> float:
    assert run.recipe is not None
    return loss(run.last, run.recipe.data.test)
