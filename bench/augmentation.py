"""Images a second of augmentation, flip, rotation, scale and crop in one, and what it costs in a training step.

pip install -r bench/requirements.txt
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import count
from typing import Any

import torch
from digits import by_hand
from machine import Way, in_turn, machine, show
from torch import nn
from torch.nn import functional as F

import thalweg
from thalweg.data import Augment, augment
from thalweg.nn import cnn

BATCH, SHAPE = 32, (3, 32, 32)
KNOBS = Augment(flip=True, rotate=15, scale=(0.9, 1.1), crop=4, padding="zeros")
IMAGES = 1024


def of_kornia(container: str) -> Callable[[torch.Tensor], Any]:
    """The same four of kornia, one after the other as they are, or in its own container, which keeps the matrices."""
    import kornia.augmentation as kornia

    parts = (
        kornia.RandomHorizontalFlip(p=0.5),
        kornia.RandomAffine(degrees=15.0, scale=(0.9, 1.1), p=1.0),
        kornia.RandomCrop((32, 32), padding=4),
    )
    made: nn.Module = nn.Sequential(*parts) if container == "in a Sequential" else kornia.AugmentationSequential(*parts)
    return made


def sampled(x: torch.Tensor) -> torch.Tensor:
    """One grid and one sampling by torch's own functions, without shifts by whole pixels and without keys."""
    count = len(x)
    angle, scale = torch.deg2rad(30 * torch.rand(count) - 15), 0.9 + 0.2 * torch.rand(count)
    mirror = 1 - 2 * torch.randint(2, (count,))
    zero = (torch.randint(9, (2, count)) - 4) / 16
    rows = (mirror * angle.cos(), -mirror * angle.sin(), zero[0], angle.sin(), angle.cos(), zero[1])
    theta = torch.stack(rows, 1).view(-1, 2, 3) / scale[:, None, None]
    return F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False)


def repeated(one: Callable[[], object]) -> Way:
    """As many batches as hold `IMAGES` images."""

    def run() -> None:
        for _ in range(IMAGES // BATCH):
            one()

    return run


def throughput(rounds: int) -> dict[str, float]:
    """Seconds for `IMAGES` images of each way, in turn."""
    x, y, ids, keys = torch.rand(BATCH, *SHAPE), torch.zeros(BATCH), torch.arange(BATCH), count()
    ways: dict[str, Way] = {
        "thalweg": repeated(lambda: KNOBS(x, y, next(keys), ids)),
        "torch's affine_grid, by hand": repeated(partial(sampled, x)),
    }
    if find_spec("kornia") is not None:
        for container in ("in a Sequential", "in its own container"):
            ways[f"kornia, {container}"] = repeated(partial(of_kornia(container), x))
    return in_turn(ways, rounds)


def training(rounds: int) -> None:
    """A small CNN with and without augmentation, beside the loop that anyone writes."""
    splits = thalweg.Splits(train=(torch.rand(IMAGES, *SHAPE), torch.arange(IMAGES) % 10))
    plain = thalweg.Recipe(data=splits, model=partial(cnn, 3, 10), objective=nn.CrossEntropyLoss(), epochs=1)
    model = partial(cnn, 3, 10)
    ways: dict[str, Way] = {
        "by hand": partial(by_hand, splits.train, 1, model),
        "by hand, with affine_grid and grid_sample": partial(by_hand, splits.train, 1, model, changed=sampled),
        "thalweg.train": partial(thalweg.train, plain),
    }
    for name, knobs in (
        ("flip, rotate, scale, crop", KNOBS),
        ("and brightness, contrast, noise, cutout, mixup", Augment(
            flip=True, rotate=15, scale=(0.9, 1.1), crop=4, brightness=0.2, contrast=0.2, noise=0.05, cutout=0.25,
            mixup=0.2, classes=10,
        )),
    ):  # fmt: skip
        ways[f"thalweg.train, {name}"] = partial(thalweg.train, plain.but(data=augment(splits, knobs)))
    title = f"cnn of width 16, {IMAGES} images of 3 x 32 x 32, batches of {BATCH}, 1 epoch"
    show(title, in_turn(ways, rounds), "by hand")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(machine())
    seconds = throughput(rounds)
    against = next((name for name in seconds if name.startswith("kornia")), "torch's affine_grid, by hand")
    show(f"flip, rotate, scale and crop of {IMAGES} images of 3 x 32 x 32, batches of {BATCH}", seconds, against)
    for name, each in seconds.items():
        print(f"  {name:<44} {IMAGES / each:8,.0f} images/s")
    if find_spec("kornia") is None:
        print(f"  {'kornia':<44}  missing: pip install -r bench/requirements.txt")
    training(max(3, rounds // 5))


if __name__ == "__main__":
    main()
