r"""receptive-field: a network learns a pattern where its receptive field reaches across it, and not before.

Two marks lie on a ring, at a distance of d pixels or of d + 4. A unit that sees r pixels, with neighbours j pixels
apart, has both marks of a pair of distance d in sight at a share

$$ c = \min\!\big(1, \max(0, (r - d) / j)\big) $$

of all places; where no unit has, every image looks the same to a network that is invariant to shifts, and it must
guess. So c is known before any training, and predicts the accuracy 1/2 + c/2. Small kernels, stacked, do reach: two of
3 x 3 see 5 x 5 with 18 weights instead of 25 (Simonyan & Zisserman, "VGG", 2015, section 2.3), and dilation, stride and
pooling reach farther with as many layers.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from thalweg.core.randomness import untouched
from thalweg.core.source import Splits
from thalweg.measure import effective_field, receptive_field
from thalweg.measure.receptive_field import LayerField
from thalweg.study.arms import Progress, accuracy, train_arms
from thalweg.study.catalogue import STUDIES
from thalweg.study.interval import over_seeds
from thalweg.study.picture import COLORS, panels, whole_numbers
from thalweg.study.verdict import Check, Study
from thalweg.training import Recipe, Run

SEEDS = 5
NEAR, WIDER = 4, 5
"""The two distances: two layers of 3 x 3 just reach across the first, and not across the second."""
MORE, HEIGHT, WIDTH, NOISE, TEST = 4, 6, 8, 0.1, 512
"""How much farther the other class's marks lie; rows of an image; filters; noise of a pixel; test images."""
ARMS: dict[str, dict[str, Any]] = {
    "1 layer": {"distance": NEAR, "layers": 1},
    "2 layers": {"distance": NEAR, "layers": 2},
    "3 layers": {"distance": NEAR, "layers": 3},
    "2 layers, wider pair": {"distance": WIDER, "layers": 2},
    "+ 1 layer": {"distance": WIDER, "layers": 3},
    "+ dilation": {"distance": WIDER, "layers": 2, "dilation": 2},
    "+ stride": {"distance": WIDER, "layers": 2, "stride": 2},
    "+ pooling": {"distance": WIDER, "layers": 2, "pool": True},
}
SHORT, REPAIRS = "2 layers, wider pair", ("+ 1 layer", "+ dilation", "+ stride", "+ pooling")
CHANCE, LEARNED, GAIN, MISS, SMALLER = (0.4, 0.6), 0.9, 0.3, 0.1, 0.8
DEPTHS = (2, 4, 8, 16)


def study(
    seeds: Sequence[int], progress: Progress, *, epochs: int = 16, train: int = 384, depths: tuple[int, ...] = DEPTHS
) -> Study:
    """What each network can see is said first; then they are trained."""
    fields = {name: field_of(**arm) for name, arm in ARMS.items()}
    recipes = {name: [_recipe(name, seed, epochs, train) for seed in seeds] for name in ARMS}
    trained = train_arms(recipes, progress)
    scores = {name: np.array([_accuracy(run) for run in runs]) for name, runs in trained.items()}
    predicted = {name: 0.5 + coverage(field, ARMS[name]["distance"]) / 2 for name, field in fields.items()}
    sides = np.array([[untrained_side(depth, seed) for depth in depths] for seed in seeds])
    figure, axes = panels(2)
    draw_accuracy(fields, scores, axes[0])
    draw_fields(depths, sides, axes[1])
    return Study(
        name="receptive-field",
        claim=STUDIES["receptive-field"],
        question="Does a network tell pairs of marks apart as soon as its receptive field reaches across them?",
        method=f"Two marks on a ring, {NEAR} or {WIDER} pixels apart against {MORE} more, in noise; stacks of 3 x 3 "
        f"convolutions with {WIDTH} filters, padded around the ring, the maximum over all places and a linear layer; "
        f"{train} images, {epochs} epochs of Adam. The accuracy that the receptive field predicts is said before. "
        "Effective fields are those of untrained stacks.",
        seeds=tuple(seeds),
        columns=(
            "network",
            "distance",
            "sees",
            "stride",
            "weights",
            "predicted",
            "accuracy",
            "lowest",
        ),
        rows=tuple(
            (
                *(name, ARMS[name]["distance"], fields[name].size[1], int(fields[name].stride[1]), _weights(name)),
                *(predicted[name], float(scores[name].mean()), float(scores[name].min())),
            )
            for name in ARMS
        ),
        checks=decide(scores, predicted, sides[:, -1] / (2 * depths[-1] + 1)),
        settings={
            "epochs": epochs,
            "train": train,
            "test": TEST,
            "width": WIDTH,
            "depths": depths,
            "optimizer": "Adam(lr=0.01)",
        },
        figure=figure,
    )


def decide(scores: dict[str, np.ndarray], predicted: dict[str, float], shares: np.ndarray) -> tuple[Check, ...]:
    """From accuracies, paired by seed, what was predicted, and the share of the field that a deep network uses."""
    near = [name for name in scores if ARMS[name]["distance"] == NEAR and predicted[name] > 0.5]
    blind = [name for name in scores if predicted[name] == 0.5]
    repaired = [name for name in REPAIRS if name in scores]
    misses = np.abs(np.array([scores[name] - predicted[name] for name in scores])).mean(0)
    low, high = CHANCE
    return (
        over_seeds("accuracy, field short of the pair", _mean(scores, blind), above=low, below=high),
        over_seeds("accuracy, field across the pair", _mean(scores, near), above=LEARNED),
        *(over_seeds(f"accuracy gained, {name}", scores[name] - scores[SHORT], above=GAIN) for name in repaired),
        over_seeds("distance of the accuracy from the predicted one", misses, below=MISS),
        over_seeds("effective over theoretical field, deepest network", shares, below=SMALLER),
    )


def _mean(values: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    found: np.ndarray = np.mean([values[name] for name in names], axis=0)
    return found


def coverage(field: LayerField, distance: int) -> float:
    """The share of places at which some unit has both marks in sight, along the width.

    >>> coverage(LayerField("", "", (9, 9), (5, 5), (1.0, 1.0), (0.0, 0.0)), 4)
    1.0
    >>> coverage(LayerField("", "", (9, 9), (7, 7), (2.0, 2.0), (0.0, 0.0)), 6)
    0.5
    """
    return min(1.0, max(0.0, (field.size[1] - distance) / field.stride[1]))


def field_of(distance: int, **net: Any) -> LayerField:
    """What a unit before the maximum over all places sees, asked of a network on an image that holds its field."""
    model = ring_net(**net)
    side = 48
    return receptive_field(model, (1, side, side))[str(len(model) - 4)]


def ring_net(layers: int, dilation: int = 1, stride: int = 1, pool: bool = False) -> nn.Sequential:
    """3 x 3 convolutions around a ring; stride and pooling are the first layer's, dilation the others'."""
    parts: list[nn.Module] = []
    for layer in range(layers):
        gap, step = (1, stride) if layer == 0 else (dilation, 1)
        convolution = nn.Conv2d(WIDTH if layer else 1, WIDTH, 3, step, gap, gap, padding_mode="circular")
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
        parts += [convolution, nn.ReLU(), *([nn.MaxPool2d(2)] if pool and layer == 0 else [])]
    return nn.Sequential(*parts, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 2))


def marks(seed: int, part: int, count: int, distance: int) -> tuple[Tensor, Tensor]:
    """Images `(count, 1, HEIGHT, width)` of two marks on a ring, half of them (class 1) at the distance."""
    random = np.random.default_rng([seed, part, distance])
    width = 2 * (distance + MORE)
    classes = np.arange(count) % 2
    images = random.normal(0, NOISE, (count, HEIGHT, width)).astype(np.float32)
    rows, columns = random.integers(0, HEIGHT, count), random.integers(0, width, count)
    others = (columns + distance + MORE * (1 - classes)) % width
    for place in (columns, others):
        images[np.arange(count), rows, place] += 1
    return torch.from_numpy(images[:, None]), torch.from_numpy(classes)


def draw_accuracy(fields: dict[str, LayerField], scores: dict[str, np.ndarray], ax: Axes) -> Axes:
    """The accuracy of each seed by how far the field reaches beyond the pair, and what was predicted."""
    for place, name in enumerate(scores):
        distance = ARMS[name]["distance"]
        color = COLORS[0] if distance == NEAR else COLORS[1]
        said = 0.5 + coverage(fields[name], distance) / 2
        ax.plot([place - 0.3, place + 0.3], [said, said], color="0.6", linewidth=2, zorder=0)
        ax.plot([place] * len(scores[name]), scores[name], "o", color=color, markersize=5, alpha=0.7)
    names = [f"{name}\nsees {fields[name].size[1]} of {ARMS[name]['distance'] + 1}" for name in scores]
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
    ax.set(ylabel="accuracy on test", ylim=(0.4, 1.04))
    ax.set_title("grey: what the field predicts", fontsize=10)
    return ax


def untrained_side(layers: int, seed: int) -> float:
    """The side of the effective field of a unit in the middle of an untrained stack, on images of noise."""
    with untouched():
        torch.manual_seed(seed)
        model = ring_net(layers)
        images = torch.rand(8, 1, 2 * layers + 3, 2 * layers + 3)
    return effective_field(model, images, str(2 * layers - 1)).side


def draw_fields(depths: tuple[int, ...], sides: np.ndarray, ax: Axes) -> Axes:
    """The side of the effective field of untrained stacks by their depth, beside that of the theoretical one."""
    for column, depth in enumerate(depths):
        ax.plot([depth] * len(sides), sides[:, column], "o", color=COLORS[0], markersize=5, alpha=0.7)
    ax.plot(depths, [2 * depth + 1 for depth in depths], color="0.6", linewidth=1, label="theoretical", zorder=0)
    ax.plot(depths, sides.mean(0), color=COLORS[0], linewidth=1, label="effective")
    ax.set(xlabel="layers of 3 x 3", ylabel="side of the field, pixels")
    ax.set_title("untrained, a dot a seed", fontsize=10)
    whole_numbers(ax)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _recipe(name: str, seed: int, epochs: int, train: int) -> Recipe:
    arm = dict(ARMS[name])
    distance = arm.pop("distance")
    return Recipe(
        data=Splits(train=marks(seed, 0, train, distance), test=marks(seed, 1, TEST, distance)),
        model=partial(ring_net, **arm),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        batch_size=32,
        epochs=epochs,
        seed=seed,
    )


def _accuracy(run: Run) -> float:
    assert run.recipe is not None
    return accuracy(run.last, run.recipe.data.test)


def _weights(name: str) -> int:
    arm = {key: value for key, value in ARMS[name].items() if key != "distance"}
    return sum(parameter.numel() for parameter in ring_net(**arm).parameters())
