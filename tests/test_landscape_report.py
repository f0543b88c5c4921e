"""The error surface as the report draws it: the pictures, the section, and files that are not what they say."""

import json
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from markupsafe import Markup
from matplotlib.colors import LogNorm, to_hex
from matplotlib.figure import Figure
from torch import nn

from thalweg.core.errors import DataError
from thalweg.measure import along, critical_point, critical_points, plane, smoothness, spectral_density
from thalweg.report import (
    course_by_epoch,
    landscape_section,
    loss_along,
    loss_plane,
    ratio_against_gradient,
    smoothness_bands,
    spectrum,
)
from thalweg.report.blocks import Picture
from thalweg.report.drawing import PALETTE, inline_svg
from thalweg.report.wording import quantity


@cache
def values() -> dict[str, Any]:
    """All that is measured, of a network at three places."""
    torch.manual_seed(0)
    x, y = torch.randn(23, 4), torch.randint(0, 3, (23,))
    model, loss = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)), nn.CrossEntropyLoss()
    path = [
        {name: tensor * scale + 0.1 * number for name, tensor in model.state_dict().items()}
        for number, scale in enumerate((3.0, 2.0, 1.0))
    ]
    return {
        "point": critical_point(model, loss, (x, y)),
        "density": spectral_density(model, loss, (x, y), steps=8),
        "lines": along(model, loss, (x, y), points=11),
        "planes": [plane(model, loss, (x, y), points=5), plane(model, loss, (x, y), path=path, points=5)],
        "course": critical_points(model, loss, (x, y), path, exact=False),
        "smoothness": {"with": {e: smoothness(model, loss, (x, y), steps=(0.1 * e, 0.2 * e)) for e in (1, 2)}},
    }


def kept() -> dict[str, Any]:
    """The same as a file keeps it."""
    found = values()
    plain = {name: found[name].to_json() for name in ("point", "lines", "course")}
    plain["planes"] = [each.to_json() for each in found["planes"]]
    plain["density"] = {"nodes": found["density"].nodes.tolist(), "weights": found["density"].weights.tolist()}
    plain["smoothness"] = {
        name: [{"epoch": epoch, **each.to_json()} for epoch, each in rows.items()]
        for name, rows in found["smoothness"].items()
    }
    loaded: dict[str, Any] = json.loads(json.dumps(plain, allow_nan=False))
    return loaded


def test_values_and_what_files_keep_of_them_are_drawn_alike_on_the_axes_given() -> None:
    found, plain = values(), kept()
    draws: list[tuple[Any, Any, Any]] = [
        (loss_along, found["lines"], plain["lines"]),
        (loss_plane, found["planes"][1], plain["planes"][1]),
        (spectrum, found["point"], plain["point"]),
        (ratio_against_gradient, found["course"], plain["course"]),
        (course_by_epoch, found["course"], plain["course"]),
        (smoothness_bands, found["smoothness"], plain["smoothness"]),
    ]
    for draw, value, file in draws:
        ax = Figure().subplots()
        assert draw(value, ax=ax) is ax
        one, other = (inline_svg(lambda ax, of=of, draw=draw: draw(of, ax=ax), "a") for of in (value, file))
        assert one == other, draw


def test_lines_stand_beside_their_quadratic() -> None:
    losses, predicted = [4.0, 0.0, 4.0], [2.0, 0.0, 2.0]
    line = {"name": "a", "curvature": 3.0, "steps": [-1, 0, 1], "losses": losses, "predicted": predicted}
    long = line | {"name": "b", "steps": [-50, 0, 50]}
    drawn = loss_along({"lines": [line]}).lines
    assert [each.get_ydata().tolist() for each in drawn] == [losses, predicted]
    assert [each.get_linestyle() == "-" for each in drawn] == [True, False]
    shares = loss_along({"lines": [line, long]})
    assert [each.get_xdata().tolist() for each in shares.lines] == [[-1, 0, 1]] * 4
    assert "shares of each line's length" in shares.get_xlabel()
    assert [text.get_text() for text in shares.get_legend().get_texts()] == ["a 3, to ±1", "b 3, to ±50"]
    gap = loss_along({"lines": [line | {"losses": [None, 0.0, 4.0]}]})
    assert np.isnan(gap.lines[0].get_ydata()[0])


GRID = {"x": [0.0, 1.0, 2.0], "y": [5.0, 6.0], "losses": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "names": ["a", "b"]}


def test_levels_are_logarithmic_where_losses_are_far_apart() -> None:
    near, far = loss_plane(GRID), loss_plane(GRID | {"losses": [[0.01, 2.0, 3.0], [4.0, 5.0, 600.0]]})
    norms = [ax.collections[0].norm for ax in (near, far)]
    assert [isinstance(norm, LogNorm) for norm in norms] == [False, True]
    levels = far.collections[0].levels
    np.testing.assert_allclose(np.diff(np.log(levels)), np.diff(np.log(levels))[0])
    assert levels[0] <= 0.01 < 600 <= levels[-1]
    assert not isinstance(loss_plane(GRID | {"losses": [[-1.0, 2, 3], [4, 5, 600]]}).collections[0].norm, LogNorm)


def test_a_plane_has_its_path_its_ends_and_what_its_axes_explain() -> None:
    path = [{"epoch": e, "x": x, "y": y} for e, x, y in ((0, 2.0, 6.0), (1, 1.0, 5.5), (2, 0.0, 5.0))]
    ax = loss_plane(GRID | {"path": path, "shares": [0.912, 0.05]})
    start, end = ax.lines[-2:]
    assert (*start.get_xdata(), *start.get_ydata()) == (2.0, 6.0)
    assert (*end.get_xdata(), *end.get_ydata()) == (0.0, 5.0)
    assert end.get_marker() == "*"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a (91% of the variance)", "b (5% of the variance)")
    assert ax.get_aspect() == 1
    assert loss_plane(GRID).lines[-1].get_marker() == "+"
    blank = loss_plane(GRID | {"losses": [[1.0, None, 3.0], [4.0, 5.0, 6.0]]})
    assert blank.collections[0].get_array() is not None


def test_the_spectrum_counts_every_eigenvalue_once_and_colours_ways_down() -> None:
    point = {"eigenvalues": [-3.0, -0.001, 0.0, 0.002, 0.5, 40.0, 41.0, 42.0], "tau": 0.01, "exact": True}
    bars = [bar for bar in spectrum(point).patches if bar.get_height() > 0 and bar.get_y() == 0]
    counted = [bar for bar in bars if to_hex(bar.get_facecolor()) != PALETTE["rule"]]
    assert sum(bar.get_height() for bar in counted) == pytest.approx(1)
    by_color = {name: sum(bar.get_height() for bar in counted if to_hex(bar.get_facecolor()) == PALETTE[name])
                for name in ("validation", "soft", "train")}  # fmt: skip
    assert by_color == pytest.approx({"validation": 1 / 8, "soft": 3 / 8, "train": 4 / 8})
    ends = spectrum(point | {"exact": False})
    assert len(ends.collections[0].get_offsets()) == 8
    density = {"nodes": [-1.0, 0.0, 5.0], "weights": [0.1, 0.6, 0.3]}
    heights = [bar.get_height() for bar in spectrum(point | {"exact": False}, density).patches]
    assert sorted(height for height in heights if 0 < height < 1) == pytest.approx([0.1, 0.3, 0.6])
    for flat in ([0.0], [0.0, 0.0], [7.0], [-7.0], [None, 7.0]):
        ax = spectrum({"eigenvalues": flat, "exact": True})
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
        ax.figure.savefig("/dev/null", format="png")


def test_the_course_is_drawn_in_the_order_of_its_epochs() -> None:
    points = [{"epoch": e, "gradient_norm": 1 / e, "minima_ratio": None if e == 2 else 1 - 1 / e} for e in (4, 1, 2)]
    ax = ratio_against_gradient({"points": points})
    assert ax.lines[0].get_ydata().tolist() == [1.0, 0.5, 0.25]
    assert [text.get_text() for text in ax.texts] == ["epoch 1", "epoch 4"]
    both = course_by_epoch({"points": points})
    assert both.lines[0].get_xdata().tolist() == [1, 2, 4]
    (other,) = [each for each in both.figure.axes if each is not both]
    np.testing.assert_array_equal(other.lines[0].get_ydata(), [0.0, np.nan, 0.75])


def test_bands_go_from_the_least_to_the_greatest() -> None:
    rows = [{"epoch": 2, "losses": [3.0, 1.0], "changes": [0.5, 1.0], "ratios": [2.0, 1.0]},
            {"epoch": 1, "losses": [9.0, 5.0], "changes": [0.1, 0.2], "ratios": [None, 4.0]}]  # fmt: skip
    ax = smoothness_bands({"without": rows}, "losses")
    assert [line.get_ydata().tolist() for line in ax.lines] == [[9.0, 3.0], [5.0, 1.0]]
    with pytest.raises(DataError, match="quantity is 'speed', but it is one of losses, changes, ratios"):
        smoothness_bands({"without": rows}, "speed")


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: loss_along({"lines": []}), "There are no lines to draw"),
        (lambda: loss_along(7), "A int cannot be drawn"),
        (lambda: loss_plane(GRID | {"y": [1.0]}), "The losses of a plane are 1 rows of 3"),
        (lambda: loss_plane(GRID | {"losses": [[None] * 3] * 2}), "No loss of the plane is finite"),
        (lambda: spectrum({"eigenvalues": []}), "There are no numbers under 'eigenvalues'"),
        (lambda: ratio_against_gradient({}), "There are no points to draw"),
    ],
)
def test_what_cannot_be_drawn_is_said(draw: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        draw()


# --- the section ------------------------------------------------------------------------------------------------------


def kinds(section: Any) -> list[str]:
    return [block.kind for block in section.blocks]


def test_the_section_holds_what_there_is() -> None:
    section = landscape_section(kept())
    assert kinds(section) == [
        "beside",
        "beside",
        "beside",
        "beside",
        "beside",
        "picture",
        "table",
        "folded",
        "folded",
        "prose",
    ]
    assert values()["point"].kind.sentence in section.lead
    assert "minima ratio" in section.lead
    said = " ".join(prose.text for prose in section.blocks[2].right)
    far = values()["planes"][1].furthest
    assert f"at epoch {far.epoch}, where the two are furthest apart" in said
    assert "the statistics of each batch" in said
    assert kinds(landscape_section({"point": kept()["point"]})) == ["picture", "folded", "prose"]
    assert landscape_section({}).blocks == []


def test_the_numbers_of_the_verdict_and_of_the_course_stand_behind_the_pictures() -> None:
    section, point, course = landscape_section(kept()), values()["point"], values()["course"]
    verdict, rows = (block for block in section.blocks if block.kind == "folded")
    facts = dict(verdict.blocks[0].pairs)
    assert f"by chance {quantity(point.gradient_noise)}; counts as zero up to" in facts["gradient norm"]
    assert facts["|Hg| / (|λ|max |g|)"].startswith(quantity(point.hessian_gradient))
    assert facts["eigenvalues"] == f"from {quantity(point.smallest)} to {quantity(point.largest)}, all are known"
    assert facts["trace"] == quantity(point.trace)
    assert facts["how sure"] == f"{point.certainty}: {point.certainty.sentence}"
    shown = rows.blocks[0].rows
    assert [row[:2] for row in shown] == [
        [str(e), str(p.kind)] for e, p in zip(course.epochs, course.points, strict=True)
    ]
    assert shown[0][6] == f"{quantity(course.points[0].trace)} ± {quantity(course.points[0].trace_error)}"


def test_a_way_down_that_was_taken_is_told() -> None:
    taken = {"moved": True, "step": 0.5, "curvature": -2.0, "before": 1.0, "after": 0.75, "validation": [2.0, 1.5]}
    (told, *_) = landscape_section({"escape": taken} | kept()).blocks
    assert "The objective fell from 1.00 to 0.750; the validation loss was 2.00 and is 1.50." in told.text
    assert kinds(landscape_section({"escape": taken | {"moved": False}})) == []
    for value in ([], 3, None, [None, "x"]):
        landscape_section({"escape": taken | {"validation": value, "step": value}})


def test_the_levels_of_losses_that_hardly_differ_are_told_apart() -> None:
    flat = {"x": [0, 1], "y": [0, 1], "losses": [[2.3024, 2.303], [2.3032, 2.3036]], "names": ["a", "b"]}
    ax = Figure().subplots()
    loss_plane(flat, ax=ax)
    bar = ax.figure.axes[1].yaxis
    said = [bar.get_major_formatter()(tick, 0) for tick in bar.get_majorticklocs()]
    assert len(set(said)) == len(said) > 3


BAD: list[Any] = [None, -1e308, "<script>", [[]], {"a": 1}, [1e308, -1e308, 1e-308], 10**400]


def spoiled(value: Any, bad: Any) -> list[Any]:
    """The value with each of its parts in turn replaced."""
    if isinstance(value, dict):
        return [value | {key: other} for key in value for other in [bad, *spoiled(value[key], bad)]]
    if isinstance(value, list) and value:
        return [[other, *value[1:]] for other in [bad, *spoiled(value[0], bad)]]
    return []


@pytest.mark.parametrize(
    "bad",
    [pytest.param(bad, marks=[pytest.mark.battery] if k % 3 else []) for k, bad in enumerate(BAD)],
    ids=[str(bad)[:20] for bad in BAD],
)
def test_a_foreign_file_is_shown_as_far_as_it_can_be(bad: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.report.error_surface.picture", drawn_small)
    good = kept()
    for key in good:
        for value in [bad, *spoiled(good[key], bad)]:
            landscape_section(
                {
                    key: value,
                    "density": good["density"] if key == "point" else {},
                }
                | {key: value}
            )


def drawn_small(draw: Any, title: str, tall: int, caption: str) -> Picture:
    """A picture without its file, which takes the time."""
    draw(Figure().subplots())
    return Picture(Markup(""), caption)


@pytest.mark.parametrize(("key", "bad"), list(product(("point", "lines", "planes", "course"), ([1e308, -1e308],))))
def test_numbers_at_the_ends_of_what_there_is_leave_pictures(key: str, bad: Any) -> None:
    for value in spoiled(kept()[key], bad)[:40:13]:
        landscape_section({key: value})
