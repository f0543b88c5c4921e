"""The section on the error surface, from plain values of a file that is read without trust."""

from collections.abc import Mapping
from typing import Any

from thalweg.core.errors import DataError
from thalweg.report.blocks import Beside, Picture, Prose, Section, Table, picture
from thalweg.report.course import QUANTITIES, course_by_epoch, ratio_against_gradient, smoothness_bands
from thalweg.report.evidence import mapping, mappings, texts
from thalweg.report.landscape import loss_along, loss_plane, spectrum
from thalweg.report.surface_numbers import course_in_numbers, verdict_in_numbers
from thalweg.report.wording import clean, digits, number, quantity

MOST_POINTS, MOST_LINES, MOST_PATH, MOST_VALUES, MOST_ARMS = 101, 4, 500, 6000, 4
"""So much of each is drawn; more is not what thalweg writes."""
TALL, PLANE = 260, 340
HIGHER = "Darker is lower. From the open dot, the start, to the star, the end."
BLIND = "A picture of two directions or of a line shows these alone: what lies across them is not seen."
ENDS = "The loss along the eigenvectors of the largest and of the smallest eigenvalue; dashed, the quadratic."
COURSE = "Where the gradient is small, the minima ratio tells a minimum (near 1) from a saddle."


def landscape_section(found: Mapping[str, Any]) -> Section:
    """The error surface around a run's weights: lines, planes, spectrum, course, smoothness, as far as they are there.

    `found` holds what `to_json` gave, under "point" (`critical_point`), "density" (nodes and weights), "lines"
    (`along`), "planes" (a list of `plane`), "course" (`critical_points`), "smoothness" (`{name: [{"epoch": ...,
    **smoothness}]}`) and "escape" (`escape`, with the validation loss before and after). What cannot be drawn is left
    out.

    >>> line = {"name": "largest eigenvalue", "curvature": 2.0, "slope": 0.0, "steps": [-1, 0, 1], "losses": [1, 0, 1]}
    >>> section = landscape_section({"lines": {"lines": [{**line, "predicted": [1, 0, 1]}]}})
    >>> section.title, [block.kind for block in section.blocks]
    ('The error surface', ['picture', 'prose'])
    """
    title, blocks = "The error surface", _escape(mapping(found.get("escape")))
    lines = _lines(mapping(found.get("lines")))
    bars = _spectrum(mapping(found.get("point")), mapping(found.get("density")))
    blocks += _paired(lines, bars)
    planes = [drawn for plane in mappings(found.get("planes"))[:2] if (drawn := _plane(plane)) is not None]
    for shown, said in planes:
        blocks.append(Beside([shown], [Prose(text, quiet=True) for text in said]))
    blocks += _paired(*_course(mapping(found.get("course"))))
    blocks += _smoothness(mapping(found.get("smoothness")))
    blocks += verdict_in_numbers(mapping(found.get("point"))) + course_in_numbers(mapping(found.get("course")))
    if not blocks:
        return Section("landscape", title)
    blocks.append(Prose(BLIND, quiet=True))
    return Section("landscape", title, blocks, _lead(mapping(found.get("point"))))


def _lead(point: dict[str, Any]) -> str:
    """The verdict on the point, with the numbers that it stands on."""
    if "kind" not in point:
        return ""
    said = clean(point.get("sentence", ""), 200)
    norm, tolerance = (quantity(point.get(key)) for key in ("gradient_norm", "tolerance"))
    numbers = [f"gradient norm {norm}, 0 up to {tolerance}"]
    if number(point.get("minima_ratio")) == number(point.get("minima_ratio")):
        shares = ", ".join(f"{quantity(point.get(key), 3)} {key}" for key in ("positive", "zero", "negative"))
        ratio, tau = quantity(point.get("minima_ratio"), 3), quantity(point.get("tau"))
        numbers.append(f"minima ratio {ratio} (of the eigenvalues {shares}, counted as zero within ±{tau})")
    return f"{said} {'; '.join(numbers)[:1].upper()}{'; '.join(numbers)[1:]}."


def _escape(found: dict[str, Any]) -> list[Any]:
    """The way down that was taken, with the losses before and after."""
    if found.get("moved") is not True:
        return []
    step, curvature, before, after = (quantity(found.get(key)) for key in ("step", "curvature", "before", "after"))
    said = f"A way down was taken: moved by {step}, curvature {curvature}. The objective fell from {before} to {after}"
    losses = found.get("validation")
    if isinstance(losses, list) and len(losses) == 2:
        said += f"; the validation loss was {quantity(losses[0])} and is {quantity(losses[1])}"
    return [Prose(f"{said}. The weights after it are in checkpoints/escaped.safetensors.")]


def _lines(found: dict[str, Any]) -> Picture | None:
    kept = [line for line in mappings(found.get("lines"))[:MOST_LINES] if _equally_long(line)]
    if not kept:
        return None
    return _drawn(lambda ax: loss_along({"lines": kept}, ax), "the loss along lines through the weights", TALL, ENDS)


def _equally_long(line: dict[str, Any]) -> bool:
    lengths = {len(line[key]) if isinstance(line.get(key), list) else 0 for key in ("steps", "losses", "predicted")}
    return len(lengths) == 1 and 2 <= next(iter(lengths)) <= MOST_POINTS * 4


def _spectrum(point: dict[str, Any], density: dict[str, Any]) -> Picture | None:
    values = point.get("eigenvalues")
    if not isinstance(values, list) or not 0 < len(values) <= MOST_VALUES:
        return None
    nodes, weights = (density.get(key) for key in ("nodes", "weights"))
    both = isinstance(nodes, list) and isinstance(weights, list) and 0 < len(nodes) == len(weights) <= MOST_VALUES
    known = "All eigenvalues" if point.get("exact") else "The density of the eigenvalues" if both else "Both ends"
    caption = f"{known} of the Hessian; within the grey they count as zero, orange ones are ways down."
    return _drawn(
        lambda ax: spectrum(point, density if both else None, ax), "the spectrum of the curvature", TALL, caption
    )


def _plane(found: dict[str, Any]) -> tuple[Picture, list[str]] | None:
    x, y, path = (found.get(key) for key in ("x", "y", "path"))
    if not all(isinstance(axis, list) and 2 <= len(axis) <= MOST_POINTS for axis in (x, y)):
        return None
    stops = mappings(path)[:MOST_PATH]
    kept = found | {"path": stops, "names": [clean(name, 60) for name in texts(found.get("names"))[:2]] or ["", ""]}
    drawn = _drawn(lambda ax: loss_plane(kept, ax), "the loss on a plane through the weights", PLANE)
    if drawn is None:
        return None
    said = [HIGHER if stops else "Darker is lower. The cross stands at the weights."]
    gaps = [stop for stop in stops if number(stop.get("projected")) == number(stop.get("projected"))]
    if gaps:
        far = max(gaps, key=lambda stop: abs(number(stop.get("projected")) - number(stop.get("objective"))))
        pair = [number(far.get(key)) for key in ("objective", "projected")]
        there, nearest = (quantity(value, digits(value, min(pair), max(pair))) for value in pair)
        said.append(
            f"The path does not lie in the plane: at epoch {quantity(far.get('epoch'), 0)}, where the two are furthest "
            f"apart, the loss is {there} on the path and {nearest} where it projects to."
        )
    if mode := clean(found.get("mode", ""), 120):
        said.append(f"Computed in {mode}.")
    return drawn, said


def _course(found: dict[str, Any]) -> tuple[Picture | None, Picture | None]:
    points = [point for point in mappings(found.get("points"))[:MOST_PATH] if _is_placed(point)]
    if len(points) < 2:
        return None, None
    course, said = {"points": points}, clean(found.get("said", ""), 200)
    return (
        _drawn(lambda ax: ratio_against_gradient(course, ax), "gradient norm against minima ratio", TALL, COURSE),
        _drawn(lambda ax: course_by_epoch(course, ax), "gradient norm and minima ratio by epoch", TALL, said),
    )


def _is_placed(point: dict[str, Any]) -> bool:
    return all(number(point.get(key)) == number(point.get(key)) for key in ("epoch", "gradient_norm"))


def _smoothness(found: dict[str, Any]) -> list[Any]:
    arms = {
        clean(name, 40): rows
        for name, listed in list(found.items())[:MOST_ARMS]
        if (
            rows := [
                row for row in mappings(listed)[:MOST_PATH] if number(row.get("epoch")) == number(row.get("epoch"))
            ]
        )
    }
    if not arms:
        return []
    drawn = {
        name: _drawn(lambda ax, name=name: smoothness_bands(arms, name, ax), said, TALL)
        for name, said in QUANTITIES.items()
    }
    table = Table(
        ["smoothness along a step, at the last epoch", *arms],
        [[said, *(_last(rows, name) for rows in arms.values())] for name, said in QUANTITIES.items()],
    )
    pictures = [each for each in drawn.values() if each is not None]
    return [*_paired(*pictures[:2]), *pictures[2:], table] if pictures else []


def _last(rows: list[dict[str, Any]], name: str) -> str:
    values = rows[-1].get(name)
    known = [number(value) for value in values if number(value) == number(value)] if isinstance(values, list) else []
    return f"{quantity(min(known))} to {quantity(max(known))}" if known else "–"


def _drawn(draw: Any, title: str, tall: int, caption: str = "") -> Picture | None:
    """The picture, or None where the values cannot be drawn."""
    import numpy as np

    try:
        with np.errstate(all="ignore"):
            return picture(draw, title, tall, caption)
    except (DataError, ValueError, OverflowError):
        return None


def _paired(*pictures: Picture | None) -> list[Any]:
    there = [each for each in pictures if each is not None]
    return [Beside([there[0]], [there[1]], even=True)] if len(there) == 2 else there
