"""The section on what a network of images looks at, from inside.json, which is read without trust."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from thalweg.report.augmentation import draw_augmentation
from thalweg.report.blocks import Beside, Picture, Prose, Section, picture
from thalweg.report.evidence import Evidence, mappings, texts
from thalweg.report.inside import filters_grid, looks_grid, maximizing_grid, tiles_height
from thalweg.report.wording import clean, number

if TYPE_CHECKING:
    import numpy as np

MOST, LARGEST, MOST_ROWS = 24, 96, 3
"""Pictures of a kind that are drawn, and their side in pixels; more is not what thalweg writes."""
LEGEND = (
    "Each column is an example, true class → predicted class, mistakes first. Lit pixels move the answer most (its "
    "slope by pixel)"
)
COVERED = "; where covering a square of the image costs the answer is orange, where it helps is blue. "
DEEPER = (
    "Made from noise by gradient ascent, so that the mean activation of one filter rises: what that filter answers to. "
    "These are the filters that tell the examples apart best."
)


def looks(evidence: Evidence) -> Section:
    """Filters, saliency and occlusion of a few examples, and the images that filters like best."""
    title = "What the network looks at"
    found = evidence.inside
    blocks: list[Any] = []
    examples, filters, maximized = _examples(found), _filters(found), _maximized(found)
    beside: list[Any] = [part for part in (examples and examples[1], filters) if part is not None]
    if examples is not None:
        blocks.append(Beside([examples[0]], beside))
    elif filters is not None:
        blocks.append(filters)
    if maximized is not None:
        blocks.append(Beside([maximized], [Prose(DEEPER, quiet=True)]))
    if not blocks:
        return Section("inside", title)
    left_out = [clean(name, 40) for name in texts(found.get("left_out"))[:4]]
    if left_out:
        said = f"Left out, because this network takes long: {' and '.join(left_out)}. thalweg.measure makes them."
        blocks.append(Prose(said, quiet=True))
    blocks.append(Prose("Such pictures show what a network is sensitive to. They are no proof of why.", quiet=True))
    return Section("inside", title, blocks, _lead(found))


def augmentation(evidence: Evidence) -> Section:
    """A few train images, and below each what augmentation made of it."""
    title = "What augmentation makes of the images"
    images = _array(evidence.augmentation.get("images"), 4)
    found = evidence.augmentation.get("augmented")
    read = [_array(row, 4) for row in found[:MOST_ROWS]] if isinstance(found, list) else []
    rows = [row for row in read if images is not None and row is not None and row.shape == images.shape]
    if images is None or not rows or images.shape[1] not in (1, 3):
        return Section("augmentation", title)
    tall = tiles_height(10 * (1 + len(rows)), 10, False, images.shape[2] / images.shape[3]) + 12
    drawn = picture(lambda ax: draw_augmentation(images, rows, ax), "train images, and what became of them", tall)
    copied = number(evidence.augmentation.get("copies")) > 0
    became = "its first copies, the same in every epoch" if copied else "what it became in the first epochs"
    lead = f"Train images as they are, and below each {became}. Judging sees them as they are."
    return Section("augmentation", title, [replace(drawn, inked=images.shape[1] != 3)], lead)


def _lead(found: dict[str, Any]) -> str:
    sees, sides = (found.get(key) for key in ("sees", "sides"))
    numbers = [number(value) for pair in (sees, sides) if isinstance(pair, list) for value in pair]
    if len(numbers) != 4 or not all(value == value for value in numbers):
        return ""
    height, width, high, wide = (f"{value:g}" for value in numbers)
    layer = clean(found.get("last", ""), 60)
    return f"A unit of the last convolution, {layer}, sees {height} x {width} pixels of images of {high} x {wide}."


def _examples(found: dict[str, Any]) -> tuple[Picture, Prose] | None:
    rows = []
    for example in mappings(found.get("examples"))[:MOST]:
        image, steep, falls = (_array(example.get(key), dims) for key, dims in ((IMAGE, 3), (SALIENCY, 2), (FALLS, 2)))
        if image is None or steep is None or steep.shape != image.shape[1:]:
            continue
        falls = falls if falls is not None and falls.shape == steep.shape else None
        truth, guess = example.get("truth"), clean(example.get("predicted", ""), 40)
        rows.append((guess if truth is None else f"{clean(truth, 40)} → {guess}", image, steep, falls))
    rows = [row for row in rows if row[1].shape == rows[0][1].shape]
    if not rows:
        return None
    covered = any(falls is not None for *_, falls in rows)
    height, width = rows[0][2].shape
    lines = 3 if covered else 2
    tall = lines * tiles_height(len(rows), len(rows), False, height / width) + 20
    drawn = picture(lambda ax: looks_grid(rows, ax), "examples, their saliency and occlusion", tall)
    split = clean(found.get("split", "held-out data"), 20)
    note = f"{LEGEND}{COVERED if covered else '. '}Of {split}: the surest mistakes, then the surest right answers."
    return replace(drawn, inked=len(rows[0][1]) != 3), Prose(note, quiet=True)


IMAGE, SALIENCY, FALLS = "image", "saliency", "occlusion"


def _filters(found: dict[str, Any]) -> Picture | None:
    values = _array(found.get("filters"), 4)
    if values is None:
        return None
    values, colored = values[:MOST], values.shape[1] == 3
    tall = tiles_height(len(values), 8, False, values.shape[2] / values.shape[3])
    scale = "in colour" if colored else "orange above 0, blue below"
    caption = f"The filters of the first convolution, {clean(found.get('first', ''), 60)}: {scale}."
    drawn = picture(lambda ax: filters_grid(values, ax), "filters of the first convolution", tall, caption)
    return replace(drawn, inked=not colored)


def _maximized(found: dict[str, Any]) -> Picture | None:
    listed = mappings(found.get("maximized"))[:MOST]
    pairs = [
        (image, f"filter {number(item.get('channel')):g}")
        for item in listed
        if (image := _array(item.get(IMAGE), 3)) is not None
    ]
    pairs = [pair for pair in pairs if pair[0].shape == pairs[0][0].shape]
    if not pairs:
        return None
    images, names = [image for image, _ in pairs], [name for _, name in pairs]
    tall = tiles_height(len(pairs), 3, True, images[0].shape[1] / images[0].shape[2])
    caption = f"Images that filters of the last convolution, {clean(found.get('last', ''), 60)}, like best."
    drawn = picture(lambda ax: maximizing_grid(images, names, ax, across=3), "images that filters like", tall, caption)
    return replace(drawn, inked=len(images[0]) != 3)


def _array(value: Any, dims: int) -> "np.ndarray | None":
    """Numbers in nested lists as an array of so many dimensions; None for anything else, and for what is too large."""
    import numpy as np

    try:
        found = np.array(value, dtype=float) if isinstance(value, list) else np.zeros(0)
    except (TypeError, ValueError, OverflowError):
        return None
    fits = found.ndim == dims and found.size and max(found.shape[-2:]) <= LARGEST
    return found if fits and found.size <= 10**6 and bool(np.isfinite(found).all()) and math.prod(found.shape) else None
