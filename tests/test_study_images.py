"""The studies about turned digits: what they measure is what they say, and without its effect each comes out false."""

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg
from thalweg.core.warp import affine, warp
from thalweg.data import augment
from thalweg.nn import SpatialTransformer
from thalweg.study import augmentation, run_study, spatial_transformer, turned_digits
from thalweg.study.augmentation import ANGLES, SCALES, Curves
from thalweg.study.digits import digits
from thalweg.study.spatial_transformer import AFFINE, ALONE, ROTATION
from thalweg.study.turned_digits import as_images

BENCH = Path(__file__).parent.parent / "bench"


class KnownAngle(nn.Module):
    """A localization network that is told the angle, in the upper left pixel, and turns back a share of it."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.last = nn.Linear(1, 1)
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -self.share * torch.deg2rad(x[:, 0, 0, :1])


def telling(x: torch.Tensor, angle: float) -> torch.Tensor:
    told = warp(x, affine(angle=angle, batch=len(x)))
    told[:, 0, 0, 0] = angle
    return told


def run_of(layer: Callable[[], nn.Module]) -> thalweg.Run:
    """A run of no epochs of that layer before a classifier."""
    recipe = thalweg.Recipe(
        data=augment(thalweg.Splits(train=as_images(digits(0, train=20).train)), rotate=60),
        model=lambda: nn.Sequential(layer(), nn.Flatten(), nn.Linear(256, 10)),
        objective=nn.CrossEntropyLoss(),
        epochs=0,
    )
    return thalweg.train(recipe, device="cpu")


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_slope_is_the_share_of_the_rotation_that_is_undone(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spatial_transformer, "turned", telling)
    applied = spatial_transformer.applied_angles(
        run_of(lambda: SpatialTransformer(KnownAngle(share), kind="rotation")), 50
    )
    assert applied.slope == pytest.approx(-share, abs=1e-4)
    assert applied.correlation == pytest.approx(-1.0, abs=1e-4)


@pytest.mark.parametrize("kind", ["affine", "rotation"])
def test_a_transformer_that_does_nothing_has_slope_0(kind: str) -> None:
    applied = spatial_transformer.applied_angles(run_of(partial(SpatialTransformer, 1, kind=kind)), 50)
    assert (applied.slope, applied.correlation) == (0.0, 0.0)


def test_what_is_turned_and_turned_back_is_the_digit_again() -> None:
    x, _ = as_images(digits(0, train=50).train)
    assert x.shape == (50, 1, 16, 16)
    assert float(x.min()) == 0.0
    assert torch.equal(turned_digits.turned(x, 0.0), x)
    assert torch.equal(turned_digits.scaled(x, 1.0), x)
    assert torch.allclose(turned_digits.turned(x, 90.0), torch.rot90(x, 1, (2, 3)), atol=1e-5)
    ink = [float(turned_digits.turned(x, angle).sum() / x.sum()) for angle in (30.0, 60.0)]
    assert ink == pytest.approx([1.0, 1.0], abs=0.03)  # nothing is turned out of the image
    assert float(turned_digits.scaled(x, 0.6).sum() / x.sum()) == pytest.approx(0.36, abs=0.03)


def test_the_accuracy_at_an_angle_is_that_of_both_ways() -> None:
    class LeftOrRight(nn.Module):
        """Tells on which side a spot is."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            left = x[..., :8].sum((1, 2, 3)) > x[..., 8:].sum((1, 2, 3))
            return nn.functional.one_hot(left.long(), 2).float()

    x = torch.zeros(3, 1, 16, 16)
    x[:, :, 2:4, 7:9] = 1.0  # in the middle, above: against the clock it goes to the left
    split = x, torch.ones(3, dtype=torch.int64)
    assert turned_digits.by_angle(LeftOrRight(), split, (40,)) == [0.5]
    x = turned_digits.turned_evenly(split, 40.0)[0]
    assert LeftOrRight()(x).argmax(1).tolist() == [0, 0, 1]


# --- each comes out false where its effect is absent ------------------------------------------------------------------


def test_augmentation_is_false_where_it_changes_nothing() -> None:
    study = run_study("augmentation", seeds=2, epochs=2, train=100, judged=50, rotate=0, scale=(1.0, 1.0))
    plain, augmented = study.rows
    assert plain[1:] == augmented[1:]
    assert not study.held
    assert [check.value for check in study.checks[::2]] == [0.0, 0.0, 0.0]
    assert not study.checks[0].passed
    assert not study.checks[2].passed


def curves(upright: float, far: float, noise: int) -> Curves:
    random = np.random.default_rng(noise)
    angle = np.full((5, len(ANGLES)), upright)
    scale = np.full((5, len(SCALES)), upright)
    angle[:, -2:], scale[:, [0, -1]] = far, far
    return Curves(angle + 0.01 * random.normal(size=angle.shape), scale + 0.01 * random.normal(size=scale.shape))


@pytest.mark.parametrize(
    ("plain", "augmented", "passed"),
    [
        ((0.98, 0.3), (0.97, 0.9), [True] * 5),
        ((0.98, 0.3), (0.97, 0.4), [False, True, False, True, True]),  # it brings back too little
        ((0.98, 0.97), (0.97, 0.97), [False, False, False, False, True]),  # nothing was lost
        ((0.98, 0.3), (0.90, 0.9), [True, True, True, True, False]),  # upright digits pay for it
    ],
)
def test_augmentation_decides(plain: Any, augmented: Any, passed: list[bool]) -> None:
    checks = augmentation.decide(curves(*plain, noise=1), curves(*augmented, noise=2))
    assert [check.passed for check in checks] == passed


def test_a_share_of_nothing_lost_is_no_number_and_false() -> None:
    ones = Curves(np.ones((3, len(ANGLES))), np.ones((3, len(SCALES))))
    first = augmentation.decide(ones, ones)[0]
    assert np.isnan(first.value)
    assert not first.passed


def test_a_transformer_that_cannot_learn_makes_the_study_false(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spatial_transformer, "FACTORS", (0.0,))
    monkeypatch.setattr(spatial_transformer, "RATES", (0.01,))
    study = run_study("spatial-transformer", seeds=2, epochs=2, train=60, judged=40)
    assert not study.held
    assert [check.value for check in study.checks[2:]] == [0.0, 0.0]
    assert [row[1] for row in study.rows] == [8084, 7448, 7363]


def test_transformers_of_noise_make_the_study_false() -> None:
    random = np.random.default_rng(1)
    noise = {name: 0.9 + 0.02 * random.normal(size=(5, 7)) for name in (ALONE, AFFINE, ROTATION)}
    slopes = {name: random.normal(size=5).tolist() for name in (AFFINE, ROTATION)}
    assert not any(check.passed for check in spatial_transformer.decide(noise, slopes))
    better = noise | {name: noise[name] + 0.05 for name in (AFFINE, ROTATION)}
    undone = {name: (-0.8 + 0.05 * random.normal(size=5)).tolist() for name in (AFFINE, ROTATION)}
    assert all(check.passed for check in spatial_transformer.decide(better, undone))


def test_rates_are_chosen_by_the_loss_on_turned_digits_and_never_a_diverged_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = iter([0.3, 0.5, float("nan"), 0.1, 0.2, 0.4])
    monkeypatch.setattr(spatial_transformer, "_turned_loss", lambda run, judged: next(losses))
    rates = [(0.1, 1.0), (0.2, 1.0), (0.3, 1.0)]
    runs = [run_of(partial(SpatialTransformer, 1, kind="rotation"))] * 6
    assert spatial_transformer._tuned(rates, runs, 5) == (0.3, 1.0)


# --- the table on MNIST -----------------------------------------------------------------------------------------------


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What bench/turned.py prints with these options and that folder of data."""

    def printed(data: Path, *options: str) -> str:
        monkeypatch.syspath_prepend(str(BENCH))
        monkeypatch.setenv("THALWEG_DATA", str(data))
        monkeypatch.setattr(sys, "argv", ["turned.py", *options])
        threads = torch.get_num_threads()
        import_module("turned").main()
        torch.set_num_threads(threads)
        return capsys.readouterr().out

    return printed


def test_missing_digits_are_said_to_be_missing(table: Callable[..., str], tmp_path: Path) -> None:
    assert table(tmp_path).startswith("missing: t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz in ")


def test_the_table_has_four_rows_with_intervals(table: Callable[..., str], realdata: Path) -> None:
    rows = [line for line in table(realdata, "--epochs", "1", "--few", "200").splitlines() if "[" in line]
    assert [row.split("  ")[1] for row in rows] == [
        "CNN",
        "CNN, augmented",
        "transformer + CNN, augmented",
        "transformer + CNN",
    ]
