r"""attention-vs-cnn: from how many examples self-attention is ahead of a CNN, and on which images.

A convolution is a self-attention that looks at near pixels only, by their place and not by what they hold (Cordonnier
et al. 2020): it has less to learn, so that it should need fewer examples, and it can say less, so that it should be
behind where there are many (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, figure 3). Where the two curves
cross, if they do, must depend on where the label stands in the image. So there are three tasks on one kind of image,
stripes under noise with two shapes somewhere on them:

- **stripes**: the label is which way the stripes run, which any few pixels tell, wherever they are;
- **shapes**: the label is whether the two shapes, most often far apart, are the same one; stripes run either way;
- **both**: the label is that of the shapes, and in `AGREE` of all images the stripes agree with it, so that what is
  near is right most of the time, and what is far apart always.

The CNN sees the whole image in its last layers, and the encoder's patches are as large as the shapes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.source import Splits
from thalweg.nn import cnn, encoder
from thalweg.optim import Cosine
from thalweg.study.arms import (
    Progress,
    accuracy,
    error_on_test,
    standing_in,
    train_arms,
    tuned_rates,
    tuning_seeds,
)
from thalweg.study.attention_vs_cnn_picture import draw_curves, draw_images
from thalweg.study.catalogue import STUDIES
from thalweg.study.interval import over_seeds
from thalweg.study.picture import panels
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 7
STRIPES, SHAPES, BOTH = TASKS = ("stripes", "shapes", "both")
ATTENTION, CNN = ARMS = ("self-attention", "CNN")
SIDE, CELL, PERIOD = 12, 3, 4
CONTRAST, AGREE = 0.6, 0.95
"""How strong the stripes are where the noise is 1, and how often they agree with the shapes in the task of both."""
DRAWN = np.array(
    [
        [[1, 1, 1], [1, 0, 1], [1, 1, 1]],
        [[0, 1, 0], [1, 1, 1], [0, 1, 0]],
        [[1, 0, 1], [0, 1, 0], [1, 0, 1]],
        [[0, 0, 1], [0, 1, 1], [1, 1, 1]],
    ],
    dtype=np.float32,
)
"""The shapes: a ring, a cross, a diagonal cross, a corner."""
BATCH, TEST = 32, 1000
RATES = (1e-3, 3e-3, 1e-2)
Images = tuple[Tensor, Tensor]
Rates = dict[tuple[str, int], float]


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    tasks: Sequence[str] = TASKS,
    sizes: tuple[int, ...] = (100, 600, 4000),
    steps: int = 200,
    rates: Sequence[float] = RATES,
    arms: dict[str, str] | None = None,
) -> Study:
    """Both networks on every task with every number of examples, each there at the best of `rates`.

    `arms` says which network truly stands in an arm.
    """
    if not tasks or min(sizes, default=0) < 1:
        raise RecipeError(
            f"tasks={tuple(tasks)} and sizes={tuple(sizes)}, but the study needs a task and a number of images. Give "
            "for instance tasks=('both',), sizes=(50, 1000)."
        )
    true = standing_in(ARMS, arms)
    chosen: dict[str, Rates] = {}
    scores: dict[str, dict[str, np.ndarray]] = {}
    for place, task in enumerate(tasks):
        start, middle, end = (np.array([0.0, 0.4, 1.0]) + place) / len(tasks)
        own = {
            (arm, size): partial(_recipe, task, true[arm], size=size, most=max(sizes), steps=steps)
            for arm, size in product(ARMS, sizes)
        }
        chosen[task] = _tune(task, own, tuning_seeds(seeds, 1), rates, progress, (start, middle))
        recipes = {
            f"{task}, {arm}, {size} images": [make(s, chosen[task][arm, size]) for s in seeds]
            for (arm, size), make in own.items()
        }
        runs = train_arms(recipes, progress, (middle, end))
        scores[task] = {arm: np.array([[_accuracy(run) for run in runs[f"{task}, {arm}, {size} images"]]
                                       for size in sizes]) for arm in ARMS}  # fmt: skip
    figure, axes = panels(len(tasks) + 1)
    draw_images(pictures(6, seeds[0], BOTH), axes[0])
    for task, ax in zip(tasks, axes[1:], strict=True):
        draw_curves(sizes, scores[task], task, ax)
    counts = {arm: parameters(true[arm]) for arm in ARMS}
    return Study(
        name="attention-vs-cnn",
        claim=STUDIES["attention-vs-cnn"],
        question="From how many examples on is self-attention ahead of a CNN, and on which images?",
        method=f"Images of {SIDE} x {SIDE} pixels; an encoder of two layers on patches of {CELL} x {CELL} "
        f"({counts[ATTENTION]:,} parameters) and a CNN of three blocks ({counts[CNN]:,}); {steps} steps of Adam in "
        f"batches of {BATCH}, whatever the number of images; accuracy on {TEST:,} others. Each has, "
        f"on each task with each number of images, the best of {len(rates)} rates on a seed that is not judged; both "
        "try the same ones, and more where the best of either lies at the edge.",
        seeds=tuple(seeds),
        columns=("task", "network", *(f"accuracy, {size} images" for size in sizes), "rates"),
        rows=tuple(
            (task, arm, *scores[task][arm].mean(1).tolist(),
             ", ".join(f"{chosen[task][arm, size]:.2g}" for size in sizes))
            for task, arm in product(tasks, ARMS)
        ),
        checks=tuple(check for task in tasks for check in decide(task, scores[task])),
        settings={
            "tasks": tuple(tasks), "sizes": sizes, "steps": steps, "arms": true, "batch_size": BATCH,
            "rates": tuple(rates), "contrast": CONTRAST, "agree": AGREE, "parameters": counts,
        },
        figure=figure,
    )  # fmt: skip


def decide(task: str, scores: dict[str, Float[np.ndarray, "size seed"]]) -> tuple[Check, ...]:
    """Paired by seed: the CNN is ahead with the fewest examples, and self-attention with the most."""
    lead = scores[ATTENTION] - scores[CNN]
    return (
        over_seeds(f"{task}: accuracy with the fewest images, CNN - self-attention", -lead[0], above=0.0),
        over_seeds(f"{task}: accuracy with the most images, self-attention - CNN", lead[-1], above=0.0),
    )


def pictures(count: int, seed: int, task: str, part: int = 0) -> Images:
    """So many images `(n, 1, 12, 12)` of a task with their labels, 0 or 1; each seed and part has its own.

    >>> x, y = pictures(5, 0, "both")
    >>> x.shape, y.tolist() == pictures(5, 0, "both")[1].tolist()
    (torch.Size([5, 1, 12, 12]), True)

    Raises `RecipeError` for another task.
    """
    if task not in TASKS:
        raise RecipeError(f"The study 'attention-vs-cnn' knows no task '{task}'.{did_you_mean(task, TASKS)}")
    random, each = np.random.default_rng([seed, part, 74]), np.arange(count)
    alike, label = random.integers(0, 2, (2, count))
    if task != STRIPES:
        label = alike
    agreed = random.random(count) < {STRIPES: 1.0, SHAPES: 0.5, BOTH: AGREE}[task]
    falling = np.where(agreed, label, 1 - label)
    images = random.normal(size=(count, SIDE, SIDE)) + CONTRAST * _stripes(falling, random)
    first = random.integers(0, len(DRAWN), count)
    second = (first + (1 - alike) * random.integers(1, len(DRAWN), count)) % len(DRAWN)
    cells = np.array([random.permutation((SIDE // CELL) ** 2)[:2] for _ in each]).reshape(count, 2)
    for kind, cell in ((first, cells[:, 0]), (second, cells[:, 1])):
        rows, columns = (CELL * axis[:, None] + np.arange(CELL) for axis in np.divmod(cell, SIDE // CELL))
        spot = each[:, None, None], rows[:, :, None], columns[:, None, :]
        images[spot] = 5 * DRAWN[kind] - 1 + 0.3 * images[spot]
    return torch.from_numpy(images[:, None] / 1.5).float(), torch.from_numpy(label)


def _stripes(falling: np.ndarray, random: np.random.Generator) -> Float[np.ndarray, "image row column"]:
    """Waves along one diagonal or the other, each image's from a place of its own."""
    row, column = np.mgrid[:SIDE, :SIDE]
    start = random.uniform(0, 2 * np.pi, (len(falling), 1, 1))
    return np.asarray(np.sin((row + (2 * falling - 1)[:, None, None] * column) * 2 * np.pi / PERIOD + start))


def parameters(arm: str) -> int:
    """The numbers that a network has to learn.

    >>> {arm: parameters(arm) for arm in ARMS}
    {'self-attention': 18050, 'CNN': 18218}
    """
    return sum(weight.numel() for weight in NETWORKS[arm]().parameters())


def _attention() -> nn.Module:
    patches = (SIDE // CELL) ** 2
    return encoder(
        2, inputs=1, patch=CELL, width=32, depth=2, heads=4, feed_forward=64, positions="learned", length=patches
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {ATTENTION: _attention, CNN: partial(cnn, 1, 2, width=8, depth=3)}


def _tune(
    task: str,
    own: Mapping[tuple[str, int], Callable[[int, float], Recipe]],
    seeds: Sequence[int],
    grid: Sequence[float],
    progress: Progress,
    window: tuple[float, float],
) -> Rates:
    """The best rate of each network for each number of images, of the same rates for both."""
    sizes, found = sorted({size for _, size in own}), Rates()
    parts = np.linspace(*window, len(sizes) + 1).tolist()
    for size, start, end in zip(sizes, parts[:-1], parts[1:], strict=True):
        arms = {f"{task}, {arm}, {size} images": _trials(own[arm, size], seeds) for arm in ARMS}
        best = tuned_rates(arms, grid, progress, (start, end), error_on_test)
        found |= {(arm, size): rate for arm, rate in zip(ARMS, best.values(), strict=True)}
    return found


def _trials(make: Callable[[int, float], Recipe], seeds: Sequence[int]) -> Callable[[float], list[Recipe]]:
    def at(rate: float) -> list[Recipe]:
        return [make(seed, rate) for seed in seeds]

    return at


def _recipe(task: str, arm: str, seed: int, rate: float, *, size: int, most: int, steps: int) -> Recipe:
    """A smaller training set is a part of a larger one, and all are judged on the same other images."""
    x, y = pictures(most, seed, task)
    return Recipe(
        data=Splits(train=(x[:size], y[:size]), test=pictures(TEST, seed, task, part=1)),
        model=NETWORKS[arm],
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=rate),
        schedule=Cosine(floor=0.01),
        batch_size=BATCH,
        epochs=max(1, round(steps / -(-size // BATCH))),
        seed=seed,
    )


def _accuracy(run: Run) -> float:
    assert run.recipe is not None
    return accuracy(run.last, run.recipe.data.test)
