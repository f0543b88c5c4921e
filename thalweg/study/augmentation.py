r"""augmentation: a network is lost where digits are turned or scaled, unless it was trained on such digits.

A convolution finds a stroke wherever it is, but not one that is turned: a network that has seen upright digits alone
has no reason to be right about others. Nobody needs to collect those: turning and scaling the digits that there are
keeps what they show, and training on them tells the network so (Simard, Steinkraus & Platt, "Best Practices for
Convolutional Neural Networks Applied to Visual Document Analysis", 2003). What it costs is accuracy on upright digits:
the same network has more to learn in the same number of steps.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from thalweg.core.source import Splits
from thalweg.data import Augment, augment
from thalweg.nn import cnn
from thalweg.optim import Cosine
from thalweg.study.arms import Progress, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import CLASSES, digits
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels
from thalweg.study.turned_digits import as_images, by_angle, by_scale, draw_accuracies
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
WIDTH, DEPTH, RATE, BATCH = 8, 3, 0.02, 64
ANGLES = (0, 10, 20, 30, 40, 50, 60)
SCALES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
FAR_ANGLES, FAR_SCALES = (50, 60), (0.6, 1.4)
PLAIN, AUGMENTED = "plain", "augmented"
LOST, REGAINED, COST = 0.1, 0.5, 0.05
"""The least that has to be lost, the share of it that has to come back, and the most that upright digits may cost."""


class Curves(NamedTuple):
    """A network's accuracy on the test digits by angle (in degrees, `ANGLES`) and by scale (`SCALES`)."""

    angle: Float[np.ndarray, "seed angle"]
    scale: Float[np.ndarray, "seed scale"]

    @property
    def upright(self) -> Float[np.ndarray, " seed"]:
        """The accuracy on the digits as they are."""
        return self.angle[:, ANGLES.index(0)]

    @property
    def far_angles(self) -> Float[np.ndarray, " seed"]:
        """The mean accuracy at the largest angles."""
        return self.angle[:, [ANGLES.index(angle) for angle in FAR_ANGLES]].mean(1)

    @property
    def far_scales(self) -> Float[np.ndarray, " seed"]:
        """The mean accuracy at the smallest and the largest scale."""
        return self.scale[:, [SCALES.index(scale) for scale in FAR_SCALES]].mean(1)


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    rotate: float | int = 60,
    scale: tuple[float, float] = (0.6, 1.4),
    epochs: int = 25,
    train: int = 800,
    judged: int = 600,
) -> Study:
    """The same network, with the same start and the same digits, trained with and without augmentation."""
    changes = Augment(rotate=rotate, scale=scale)
    recipes = {
        PLAIN: [_recipe(seed, None, epochs, train) for seed in seeds],
        AUGMENTED: [_recipe(seed, changes, epochs, train) for seed in seeds],
    }
    trained = train_arms(recipes, progress)
    curves = {name: _curves(runs, train, judged) for name, runs in trained.items()}
    figure, axes = panels(2)
    draw_accuracies(ANGLES, {name: each.angle for name, each in curves.items()}, COLORS, axes[0])
    axes[0].set(xlabel="angle of the test digits in degrees, either way", ylabel="accuracy")
    axes[0].set_title("lines: mean of the seeds; bands: all of them", fontsize=10)
    axes[0].legend(frameon=False, fontsize=8, loc="lower left")
    draw_accuracies(SCALES, {name: each.scale for name, each in curves.items()}, COLORS, axes[1])
    axes[1].set(xlabel="size of the test digits, 1 as they are", ylabel="accuracy")
    return Study(
        name="augmentation",
        claim=STUDIES["augmentation"],
        question="What does a network trained on upright digits lose on turned and scaled ones, how much of it does "
        "augmentation bring back, and what does it cost on upright ones?",
        method=f"A CNN of width {WIDTH} and depth {DEPTH} on {train} digits of 16 x 16 pixels, {epochs} epochs of "
        f"Adam, with and without {changes}, on the same seeds; far is an angle of {FAR_ANGLES} degrees, a scale of "
        f"{FAR_SCALES}. False where less than {LOST:g} is lost there, less than {REGAINED:g} of it comes back, or "
        f"upright digits cost {COST:g}.",
        seeds=tuple(seeds),
        columns=("network", "upright", "far angles", "far scales", *(f"scale {scale}" for scale in FAR_SCALES)),
        rows=tuple((name, *_row(each)) for name, each in curves.items()),
        checks=decide(curves[PLAIN], curves[AUGMENTED]),
        settings={
            "rotate": rotate,
            "scale": scale,
            "epochs": epochs,
            "train": train,
            "width": WIDTH,
            "depth": DEPTH,
            "rate": RATE,
        },
        figure=figure,
    )


def decide(plain: Curves, augmented: Curves) -> tuple[Check, ...]:
    """Paired by seed: the plain network loses far off, augmentation brings most of it back, upright it costs little."""
    checks = []
    for where, before, after in (
        ("far angles", plain.far_angles, augmented.far_angles),
        ("far scales", plain.far_scales, augmented.far_scales),
    ):
        lost = plain.upright - before
        share = np.divide(after - before, lost, out=np.full_like(lost, np.nan), where=lost != 0)
        checks += [
            over_seeds(f"share of the lost accuracy regained, {where}", share, above=REGAINED),
            over_seeds(f"accuracy lost by the plain network, {where}", lost, above=LOST),
        ]
    return *checks, over_seeds("accuracy upright, plain - augmented", plain.upright - augmented.upright, below=COST)


def _curves(runs: list[Run], train: int, judged: int) -> Curves:
    angle, scale = [], []
    for run in runs:
        assert run.recipe is not None
        x, y = as_images(digits(run.recipe.seed, train=train).test)
        few = x[:judged], y[:judged]
        angle.append(by_angle(run.last, few, ANGLES))
        scale.append(by_scale(run.last, few, SCALES))
    return Curves(np.array(angle), np.array(scale))


def _row(curves: Curves) -> list[float]:
    ends = [curves.scale[:, SCALES.index(scale)] for scale in FAR_SCALES]
    return [float(values.mean()) for values in (curves.upright, curves.far_angles, curves.far_scales, *ends)]


def _recipe(seed: int, changes: Augment | None, epochs: int, train: int) -> Recipe:
    splits = Splits(train=as_images(digits(seed, train=train).train))
    return Recipe(
        data=splits if changes is None else augment(splits, changes),
        model=partial(cnn, 1, CLASSES, width=WIDTH, depth=DEPTH),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=RATE),
        schedule=Cosine(floor=0.01),
        batch_size=BATCH,
        epochs=epochs,
        seed=seed,
    )
