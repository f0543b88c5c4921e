"""Accuracy on upright and turned digits: a CNN with and without augmentation, alone or behind a spatial transformer.

The digits are those of the folder mnist10k (t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz) in the folder that
the variable THALWEG_DATA names: 8,000 to train, 2,000 to judge by. Without them it says so.
"""

import argparse
import gzip
import os
from functools import partial
from math import prod
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from machine import machine
from torch import Tensor, nn

import thalweg
from thalweg.core.warp import affine, warp
from thalweg.data import augment
from thalweg.nn import SpatialTransformer, cnn, localization_net
from thalweg.optim import Cosine, Grouped
from thalweg.training.interval import wilson

FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
TRAIN, WIDEST = 8000, 60.0
ADAM = partial(torch.optim.Adam, lr=0.01)
CHANGES = {"rotate": WIDEST, "scale": 0.1, "shift": 0.1}


def idx(path: Path) -> np.ndarray:
    """The bytes of an idx file: two zeros, a type (8 for bytes), the number of axes, their lengths, and the values."""
    content = gzip.decompress(path.read_bytes())
    assert content[:3] == b"\x00\x00\x08", f"{path} is no idx file of bytes"
    header = 4 + 4 * content[3]
    shape = [int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4)]
    assert len(content) == header + prod(shape), f"{path} is cut short"
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def digits(folder: Path, few: int | None) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The digits to train on and those to judge by, in an order of their own; `few` of each to try it out."""
    pixels, labels = (idx(folder / name) for name in FILES)
    order = np.random.default_rng(0).permutation(len(labels))
    x = torch.from_numpy(pixels[order].astype(np.float32) / 255)[:, None]
    y = torch.from_numpy(labels[order].astype(np.int64))
    return (x[:TRAIN][:few], y[:TRAIN][:few]), (x[TRAIN:][:few], y[TRAIN:][:few])


def transforming() -> nn.Module:
    """A CNN behind a spatial transformer: together about as many parameters as the CNN alone."""
    return nn.Sequential(SpatialTransformer(localization_net(1, 6, width=4, hidden=16)), cnn(1, 10, width=8, depth=3))


def ways(train: tuple[Tensor, Tensor], epochs: int) -> dict[str, thalweg.Recipe]:
    """The four recipes, which differ in the network and in whether the digits are augmented."""
    splits = thalweg.Splits(train=train)
    plain = thalweg.Recipe(
        data=splits, model=partial(cnn, 1, 10, width=10, depth=3), objective=nn.CrossEntropyLoss(), optimizer=ADAM,
        schedule=Cosine(floor=0.01), batch_size=64, epochs=epochs,
    )  # fmt: skip
    behind: dict[str, Any] = {"model": transforming, "optimizer": Grouped(ADAM, lr_factors={"0.*": 0.3})}
    changed = augment(splits, **CHANGES)
    return {
        "CNN": plain,
        "CNN, augmented": plain.but(data=changed),
        "transformer + CNN, augmented": plain.but(data=changed, **behind),
        "transformer + CNN": plain.but(**behind),
    }


@torch.no_grad()
def right(model: nn.Module, x: Tensor, y: Tensor) -> str:
    """The share of right answers with Wilson's interval."""
    hits = sum(int((model(part).argmax(1) == own).sum()) for part, own in zip(x.split(500), y.split(500), strict=True))
    return "{:.3f} [{:.3f}, {:.3f}]".format(*wilson(hits, len(y)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--few", type=int, help="train and judge on so many digits, to try it out")
    chosen = parser.parse_args()
    folder = Path(os.environ.get("THALWEG_DATA", "")) / "mnist10k"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        print(f"missing: {', '.join(missing)} in {folder}. Name the folder above it: THALWEG_DATA=...")
        return
    torch.set_num_threads(1)
    print(machine())
    train, (x, y) = digits(folder, chosen.few)
    angles = torch.empty(len(y)).uniform_(-WIDEST, WIDEST, generator=torch.Generator().manual_seed(0))
    turned = warp(x, affine(angle=angles))
    print(
        f"\n{len(train[1]):,} digits, {chosen.epochs} epochs; judged on {len(y):,}, turned by up to {WIDEST:g} degrees"
    )
    print(f"  {'':<30} {'parameters':>10}   {'upright':<22} {'turned':<22} {'CPU s':>7}")
    for name, recipe in ways(train, chosen.epochs).items():
        started = process_time()
        model = thalweg.train(recipe, device="cpu").last.eval()
        seconds, size = process_time() - started, sum(parameter.numel() for parameter in model.parameters())
        print(f"  {name:<30} {size:>10,}   {right(model, x, y):<22} {right(model, turned, y):<22} {seconds:>7.0f}")


if __name__ == "__main__":
    main()
