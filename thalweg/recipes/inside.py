"""What a run's network of images looks at, as plain values for the report: filters, two maps of a few examples, and the
images that filters of the last convolution like best.

What it costs is counted before: a network that would take seconds is looked into less far, and that is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.flop_counter import FlopCounterMode

from thalweg.core.errors import ThalwegError
from thalweg.core.source import Source
from thalweg.measure import feature_maps, first_layer_filters, maximize, occlusion, receptive_field, saliency
from thalweg.measure.inside.filters import convolutions
from thalweg.measure.looking import looking
from thalweg.recipes.data_kinds import kind_of_source
from thalweg.recipes.predict import outputs_of
from thalweg.training import Run

EXAMPLES, FILTERS, CHANNELS, COMPARED = 3, 24, 6, 64
"""Wrong and right examples, filters, maximized channels, and images by which the channels are chosen."""
LARGEST_SIDE = 64
"""Pixels to a side of what is kept; a larger picture is averaged down."""
STEPS, FEWEST_STEPS, AFFORDABLE = 64, 16, 4e10
"""Steps of maximizing, and what all may cost in floating-point operations: a few seconds on one core."""


@dataclass(frozen=True, eq=False)
class Examples:
    """A split's outputs, and the classes of its images where there are classes; the images are read when wanted."""

    source: Source
    outputs: Tensor
    truths: Tensor | None
    labels: list[str]

    def images(self, places: Sequence[int]) -> Tensor:
        """The images at some places: a split may not fit into memory, but a few of its images do."""
        found: dict[int, Tensor] = {}
        first, wanted = 0, set(places)
        for x, _ in self.source.batches(0, 0, None):
            found |= {place: x[place - first].cpu() for place in range(first, first + len(x)) if place in wanted}
            first += len(x)
            if len(found) == len(wanted):
                break
        return torch.stack([found[place] for place in places])


def look_inside(run: Run, source: Source, split: str) -> dict[str, Any] | None:
    """What inside.json holds: None where the model has no convolution over images, or the data are no images."""
    examples = _examples(run, source)
    if examples is None:
        return None
    model = run.model
    try:
        return _looks(model, examples) | {"split": split}
    except (ThalwegError, RuntimeError, ValueError, TypeError):  # a model of someone's own may refuse what is asked
        return None


def _looks(model: nn.Module, examples: Examples) -> dict[str, Any]:
    chosen = _chosen(examples)
    images, targets = examples.images(chosen), examples.outputs[chosen].argmax(1)
    names, shape = convolutions(model), tuple(images.shape[1:])
    cost = _operations(model, images[:1])
    squares = 64 * len(chosen) * cost
    left = AFFORDABLE - squares if squares <= AFFORDABLE else AFFORDABLE
    steps = int(min(STEPS, left // (3 * CHANNELS * cost)))
    field = receptive_field(model, shape)
    last = next((name for name in reversed(names) if not field[name].measured), names[-1])
    return {
        "first": names[0],
        "filters": as_plain(first_layer_filters(model)[:FILTERS]),
        "last": last,
        "sees": list(field[last].size),
        "sides": list(shape[1:]),
        "examples": [
            _example(examples, place, image, target, look)
            for place, image, target, look in zip(
                chosen, images, targets.tolist(), _maps(model, images, targets, squares <= AFFORDABLE), strict=True
            )
        ],
        "maximized": _maximized(model, last, examples, steps) if steps >= FEWEST_STEPS else [],
        "left_out": [
            name
            for name, done in (("occlusion", squares <= AFFORDABLE), ("maximizing images", steps >= FEWEST_STEPS))
            if not done
        ],
    }


def _examples(run: Run, source: Source) -> Examples | None:
    if not any(isinstance(module, nn.Conv2d) for module in run.model.modules()):
        return None
    shapes, targets = set(), []
    for batch in source.batches(0, 0, None):
        if not isinstance(batch, tuple | list) or len(batch) != 2 or not _are_images(batch[0]):
            return None
        shapes.add(tuple(batch[0].shape[1:]))
        targets.append(batch[1][0] if isinstance(batch[1], tuple) else batch[1])
    if len(shapes) != 1:
        return None
    outputs = outputs_of(run, source)
    if outputs.dim() != 2 or outputs.shape[1] < 1:
        return None
    truths, labels = None, [str(i) for i in range(outputs.shape[1])]
    whole = all(isinstance(y, Tensor) and y.dim() == 1 and not y.is_floating_point() for y in targets)
    if whole and outputs.shape[1] > 1:
        truths = torch.cat([y.cpu() for y in targets])
    encoding: Any = getattr(source, "encoding", None)
    if kind_of_source(source) is not None and (known := encoding.labels):
        labels = [str(label) for label in known]
    return Examples(source, outputs, truths, labels)


def _are_images(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dim() == 4 and x.is_floating_point()


def _chosen(examples: Examples) -> list[int]:
    """The surest mistakes, then right answers of different classes, the surest of each; without classes the first."""
    if examples.truths is None:
        return list(range(min(2 * EXAMPLES, len(examples.outputs))))
    sureness, guesses = examples.outputs.softmax(1).max(1)
    order = sureness.argsort(descending=True, stable=True).tolist()
    right = (guesses == examples.truths).tolist()
    wrong = [place for place in order if not right[place]][:EXAMPLES]
    by_class: dict[int, int] = {}
    for place in order:
        if right[place]:
            by_class.setdefault(int(guesses[place]), place)
    return [*wrong, *(by_class[name] for name in sorted(by_class))][: 2 * EXAMPLES]


def _maps(model: nn.Module, images: Tensor, targets: Tensor, affordable: bool) -> list[dict[str, Any]]:
    steep = saliency(model, images, targets)
    falls = occlusion(model, images, targets) if affordable else None
    return [
        {"saliency": as_plain(steep[i]), "occlusion": None if falls is None else as_plain(falls[i])}
        for i in range(len(images))
    ]


def _example(examples: Examples, place: int, image: Tensor, target: int, looks: dict[str, Any]) -> dict[str, Any]:
    truth = None if examples.truths is None else int(examples.truths[place])
    labels = examples.labels
    return {
        "row": place,
        "truth": None if truth is None else labels[truth],
        "predicted": labels[target] if examples.outputs.shape[1] > 1 else f"{float(examples.outputs[place, 0]):.4g}",
        "right": None if truth is None else truth == target,
        "image": as_plain(image),
        **looks,
    }


def _maximized(model: nn.Module, layer: str, examples: Examples, steps: int) -> list[dict[str, Any]]:
    """Of the channels that tell the images apart best, by the deviation of their mean activation."""
    count = len(examples.outputs)
    some = examples.images(range(0, count, max(1, count // COMPARED))[:COMPARED])
    spread = feature_maps(model, some, layer).flatten(2).mean(2).std(0, correction=0)
    channels = sorted(spread.argsort(descending=True, stable=True)[:CHANNELS].tolist())
    low, high = float(some.min()), float(some.max())
    bounds = (low, high if high > low else low + 1)
    found = maximize(model, layer, channels, tuple(some.shape[1:]), steps=steps, bounds=bounds)
    return [
        {"channel": channel, "start": float(start), "end": float(end), "image": as_plain(image)}
        for channel, start, end, image in zip(channels, found.start, found.end, found.images, strict=True)
    ]


def _operations(model: nn.Module, image: Tensor) -> float:
    """Floating-point operations of one forward pass."""
    device = next(model.parameters()).device
    counter = FlopCounterMode(display=False)
    with looking(model), torch.no_grad(), counter:
        model(image.to(device))
    return float(max(1, counter.get_total_flops()))


def as_plain(picture: Tensor, largest: int = LARGEST_SIDE) -> Any:
    """Numbers of four digits in nested lists, of a picture that is not too large.

    >>> as_plain(torch.ones(1, 4, 4) / 3, largest=2)
    [[[0.3333, 0.3333], [0.3333, 0.3333]]]
    """
    height, width = picture.shape[-2:]
    if max(height, width) > largest:
        share = largest / max(height, width)
        size = (max(1, round(height * share)), max(1, round(width * share)))
        flat = picture.float().reshape(1, -1, height, width)
        picture = interpolate(flat, size, mode="area").reshape(*picture.shape[:-2], *size)
    return _rounded(picture.detach().cpu().double().tolist())


def _rounded(values: Any) -> Any:
    return [_rounded(value) for value in values] if isinstance(values, list) else float(f"{values:.4g}")
