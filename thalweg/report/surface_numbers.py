"""The numbers behind the pictures of the error surface, from plain values of a file that is read without trust."""

from typing import Any

from thalweg.report.blocks import Facts, Folded, Items, Table
from thalweg.report.evidence import mappings, texts
from thalweg.report.wording import clean, number, quantity

MOST_ROWS, MOST_NOTES = 100, 10


def verdict_in_numbers(point: dict[str, Any]) -> list[Any]:
    """What stands behind the verdict on a point, folded: gradient, eigenvalues, counts, how sure, notes.

    >>> (folded,) = verdict_in_numbers({"kind": "SADDLE", "gradient_norm": 0.0, "tolerance": 0.1, "trace": 2.0})
    >>> folded.title, folded.blocks[0].pairs[0]
    ('The verdict in numbers', ('gradient norm', '0.000; counts as zero up to 0.100'))
    """
    if "kind" not in point:
        return []

    def of(name: str) -> str:
        return quantity(point.get(name))

    noise = f", by chance {of('gradient_noise')}" if _known(point.get("gradient_noise")) else ""
    pairs = [("gradient norm", f"{of('gradient_norm')}{noise}; counts as zero up to {of('tolerance')}")]
    if _known(point.get("hessian_gradient")):
        pairs.append(("|Hg| / (|λ|max |g|)", f"{of('hessian_gradient')}; near 0 where |g|² is least without being 0"))
    values, held = point.get("eigenvalues"), point.get("held_out")
    if isinstance(values, list) and values:
        how = "all are known" if point.get("exact") is True else "by Lanczos"
        pairs.append(("eigenvalues", f"from {quantity(values[0])} to {quantity(values[-1])}, {how}"))
    if isinstance(held, list) and len(held) == 2:
        pairs.append(("lowest curvature, held out", f"{quantity(held[0])} ± {quantity(held[1])}"))
    pairs.append(("trace", _trace(point)))
    pairs.append(("other counts", f"{of('above_zero')} above 0; {of('raised')} of perturbations raise the loss"))
    pairs.append(("objective", f"{of('objective')}, the loss alone {of('loss')}"))
    pairs.append(("how sure", f"{clean(point.get('certainty', ''), 40)}: {clean(point.get('sure', ''), 200)}"))
    notes = [clean(note, 300) for note in texts(point.get("notes"))[:MOST_NOTES]]
    return [Folded("The verdict in numbers", [Facts(pairs), *([Items(notes)] if notes else [])])]


def course_in_numbers(course: dict[str, Any]) -> list[Any]:
    """A row for each point of a course, folded.

    >>> course_in_numbers({"points": [{"epoch": 3, "kind": "SADDLE", "trace": 1.0}]})[0].blocks[0].rows[0][:2]
    ['3', 'SADDLE']
    """
    points = [point for point in mappings(course.get("points"))[:MOST_ROWS] if _known(point.get("epoch"))]
    names = ("objective", "gradient_norm", "smallest", "largest", "trace", "minima_ratio", "positive", "zero",
             "negative", "tau")  # fmt: skip
    head = ["epoch", "kind", "objective", "gradient norm", "smallest λ", "largest λ", "trace", "minima ratio",
            "positive", "zero", "negative", "tau"]  # fmt: skip
    rows = [
        [
            quantity(point["epoch"], 0),
            clean(point.get("kind", ""), 30),
            *(_trace(point) if name == "trace" else quantity(point.get(name)) for name in names),
        ]
        for point in points
    ]
    return [Folded("The course in numbers", [Table(head, rows, plain=(0, 1))])] if rows else []


def _trace(point: dict[str, Any]) -> str:
    error = number(point.get("trace_error"))
    return quantity(point.get("trace")) + (f" ± {quantity(error)}" if error > 0 else "")


def _known(value: Any) -> bool:
    return number(value) == number(value)
