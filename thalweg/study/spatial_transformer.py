r"""spatial-transformer: a network that may turn its input back does better on turned digits than one that may not.

A spatial transformer (Jaderberg et al., "Spatial Transformer Networks", 2015) reads the image, chooses a warp and hands
the warped image on. Nothing tells it what upright is; the loss alone does. Its classifier then has fewer poses to
learn. As in the paper's section 4.1 both networks have about as many parameters and the same training, here with digits
turned by random angles. Each has as many trials on seeds that are not judged: the CNN alone of learning rates, a
transformer of how much slower its localization network learns than the rest.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.source import Splits
from thalweg.data import augment
from thalweg.nn import SpatialTransformer, cnn, localization_net
from thalweg.optim import Cosine, Grouped
from thalweg.study.arms import Progress, loss, train_arms, tuning_seeds
from thalweg.study.catalogue import STUDIES
from thalweg.study.digits import CLASSES, Split, digits
from thalweg.study.interval import over_seeds
from thalweg.study.spatial_transformer_picture import draw_study
from thalweg.study.turned_digits import Images, as_images, by_angle, turned, turned_evenly
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
WIDTHS = {"alone": 11, "behind": 8}
"""Of a CNN alone and of one behind a transformer: with these both networks have about as many parameters."""
RATES, RATE, FACTORS = (0.01, 0.02, 0.04), 0.01, (0.03, 0.1, 0.3)
"""The rates of the CNN alone, that of one behind a transformer, and its localization network's as shares of it."""
ANGLES = (0, 15, 30, 45, 60, 75, 90)
FAR = (30, 45, 60)
ALONE, AFFINE, ROTATION = "CNN alone", "affine transformer", "rotation transformer"
TRANSFORMERS = (AFFINE, ROTATION)
ARMS = {ALONE: None, AFFINE: "affine", ROTATION: "rotation"}
"""The networks, each with the kind of its transformer."""
UNDONE = -0.5
Rates = tuple[float, float]
"""The learning rate, and the localization network's as a share of it."""


class Applied(NamedTuple):
    """Degrees that a transformer turns by for each angle given, as differences from each digit's own mean."""

    degrees: Float[np.ndarray, "angle digit"]
    slope: float
    correlation: float


def study(
    seeds: Sequence[int],
    progress: Progress,
    *,
    rotate: float | int = 60,
    epochs: int = 30,
    train: int = 400,
    judged: int = 600,
) -> Study:
    """The rates are tuned on seeds that are not judged; then all networks are trained under the same seeds."""
    settings: dict[str, Any] = {"rotate": rotate, "epochs": epochs, "train": train}
    chosen, recipes = {}, {}
    for number, (name, kind) in enumerate(ARMS.items()):
        rates = [(rate, 1.0) for rate in RATES] if kind is None else [(RATE, factor) for factor in FACTORS]
        trials = [_recipe(kind, each, s, **settings) for each in rates for s in tuning_seeds(seeds)]
        window = (0.15 * number, 0.15 * (number + 1))
        tuned = train_arms({f"{name}, tuned": trials}, progress, window)
        chosen[name] = _tuned(rates, tuned[f"{name}, tuned"], judged)
        recipes[name] = [_recipe(kind, chosen[name], seed, **settings) for seed in seeds]
    trained = train_arms(recipes, progress, (0.45, 1.0))
    curves = {
        name: np.array([by_angle(r.last, _judged(r, judged), ANGLES) for r in runs]) for name, runs in trained.items()
    }
    applied = {name: [applied_angles(run, judged) for run in trained[name]] for name in TRANSFORMERS}
    return Study(
        name="spatial-transformer",
        claim=STUDIES["spatial-transformer"],
        question="Is a CNN more often right about turned digits where a spatial transformer stands before it, and "
        "does that undo the rotation?",
        method=f"CNNs on {train} digits of 16 x 16 pixels, turned anew in every epoch by up to {rotate:g} degrees "
        f"either way, {epochs} epochs of Adam, with and without a transformer; turned digits are those at {FAR} "
        "degrees. The slope is of the angle that the transformer turns by on the angle given: 0 where it does nothing, "
        "-1 where it undoes it. False where it is no more accurate than the CNN alone, or undoes less than half.",
        seeds=tuple(seeds),
        columns=("network", "parameters", "rate", "localization's", "upright", "turned", "slope", "correlation"),
        rows=tuple(
            (name, _size(trained[name][0]), *_rates(chosen[name], name != ALONE),
             *_accuracies(curves[name]), *_means(applied.get(name)))
            for name in recipes
        ),
        checks=decide(curves, {name: [each.slope for each in own] for name, own in applied.items()}),
        settings=settings | {"judged": judged, "widths": WIDTHS, "rates": RATES, "rate": RATE, "factors": FACTORS},
        figure=draw_study(ANGLES, curves, applied_to(rotate), applied, *_example(trained[ROTATION][0], rotate)),
    )  # fmt: skip


def decide(
    curves: Mapping[str, Float[np.ndarray, "seed angle"]], slopes: Mapping[str, Sequence[float]]
) -> tuple[Check, ...]:
    """Paired by seed: each transformer is more accurate than the CNN alone on turned digits, and turns them back."""
    far = [ANGLES.index(angle) for angle in FAR]
    gains = {name: (curves[name] - curves[ALONE])[:, far].mean(1) for name in TRANSFORMERS}
    return (
        *(over_seeds(f"accuracy on turned digits, {name} - alone", gain, above=0.0) for name, gain in gains.items()),
        *(over_seeds(f"slope of applied on given angle, {n}", slopes[n], below=UNDONE) for n in TRANSFORMERS),
    )


def applied_to(rotate: float | int) -> Float[np.ndarray, " angle"]:
    """The nine angles that a transformer is asked about."""
    return np.linspace(-rotate, rotate, 9)


@torch.no_grad()
def applied_angles(run: Run, judged: int) -> Applied:
    r"""The angle of a run's matrices at each angle given, for so many digits, and how the two go together in each.

    The angle of $A$ is that of the rotation nearest to it, $\mathrm{atan2}(A_{21} - A_{12}, A_{11} + A_{22})$. A
    digit's own mean is taken off: what upright is may be another angle for each digit.
    """
    assert run.recipe is not None
    given = applied_to(run.recipe.data.train.augment.rotate)
    x = _judged(run, judged)[0]
    layer = _transformer(run)
    matrices = torch.stack([layer.matrices(turned(x, float(angle))) for angle in given]).numpy().astype(np.float64)
    sine, cosine = matrices[..., 1, 0] - matrices[..., 0, 1], matrices[..., 0, 0] + matrices[..., 1, 1]
    degrees = np.rad2deg(np.unwrap(np.arctan2(sine, cosine), axis=0))
    degrees -= degrees.mean(0)
    asked = np.broadcast_to(given[:, None], degrees.shape)
    slope = (degrees * asked).sum() / np.square(asked).sum()
    moved = np.square(degrees).sum()
    correlation = (degrees * asked).sum() / np.sqrt(moved * np.square(asked).sum()) if moved else 0.0
    return Applied(degrees, float(slope), float(correlation))


def behind_transformer(kind: str, parameters: int) -> nn.Sequential:
    """A small CNN behind a spatial transformer with a localization network as small."""
    localization = localization_net(1, parameters, width=4, hidden=16)
    return nn.Sequential(SpatialTransformer(localization, kind=kind), cnn(1, CLASSES, width=WIDTHS["behind"]))


def _recipe(kind: str | None, rates: Rates, seed: int, *, rotate: float | int, epochs: int, train: int) -> Recipe:
    rate, factor = rates
    adam = partial(torch.optim.Adam, lr=rate)
    alone = partial(cnn, 1, CLASSES, width=WIDTHS["alone"])
    return Recipe(
        data=augment(Splits(train=as_images(digits(seed, train=train).train)), rotate=rotate),
        model=alone if kind is None else partial(behind_transformer, kind, {"affine": 6, "rotation": 1}[kind]),
        objective=nn.CrossEntropyLoss(),
        optimizer=adam if kind is None else Grouped(adam, lr_factors={"0.*": factor}),
        schedule=Cosine(floor=0.01),
        batch_size=32,
        epochs=epochs,
        seed=seed,
    )


def _tuned(rates: Sequence[Rates], trials: Sequence[Run], judged: int) -> Rates:
    """The rates of the lowest mean loss on turned digits that were not trained on; each has as many of the trials."""
    losses = np.reshape([_turned_loss(run, judged) for run in trials], (len(rates), -1)).mean(1)
    return rates[int(np.nan_to_num(losses, nan=np.inf).argmin())]


def _turned_loss(run: Run, judged: int) -> float:
    assert run.recipe is not None
    return loss(run.last, turned_evenly(_judged(run, judged), run.recipe.data.train.augment.rotate))


def _judged(run: Run, count: int) -> Split:
    """So many digits that the run was not trained on, upright."""
    assert run.recipe is not None
    x, y = as_images(digits(run.recipe.seed, train=len(run.recipe.data.train)).test)
    return x[:count], y[:count]


@torch.no_grad()
def _example(run: Run, rotate: float | int) -> tuple[Images, Tensor]:
    """A digit at five angles, and what the transformer hands on of each."""
    digit = _judged(run, 1)[0]
    given = torch.cat([turned(digit, float(angle)) for angle in np.linspace(-rotate, rotate, 5)])
    return given, _transformer(run)(given)


def _transformer(run: Run) -> Any:
    return next(run.last.eval().children())


def _rates(rates: Rates, localizes: bool) -> tuple[float, float | None]:
    """The learning rate, and that of the localization network."""
    return rates[0], rates[0] * rates[1] if localizes else None


def _size(run: Run) -> int:
    return sum(parameter.numel() for parameter in run.last.parameters())


def _accuracies(curve: Float[np.ndarray, "seed angle"]) -> tuple[float, float]:
    return float(curve[:, 0].mean()), float(curve[:, [ANGLES.index(angle) for angle in FAR]].mean())


def _means(applied: Sequence[Applied] | None) -> tuple[float | None, float | None]:
    if applied is None:
        return None, None
    return float(np.mean([each.slope for each in applied])), float(np.mean([each.correlation for each in applied]))
