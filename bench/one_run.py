"""One run against the loop written by hand: the same data, network, optimizer and number of steps."""

import argparse
from functools import partial

import torch
from digits import by_hand, digits, recipe
from machine import in_turn, machine, show
from torch import nn

import thalweg


def cnn() -> nn.Module:
    """A small CNN for images of 28 x 28."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 49, 10),
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(machine())
    data = digits()
    mlp = {
        "by hand": partial(by_hand, data, 4),
        "thalweg.train": lambda: thalweg.train(recipe(data, 4)),
    }
    show("MLP 64-128-10, digits, batches of 32, 4 epochs", in_turn(mlp, rounds), "by hand")
    images = torch.randn(640, 28, 28), torch.randint(0, 10, (640,))
    convolutions = {
        "by hand": partial(by_hand, images, 1, cnn),
        "thalweg.train": lambda: thalweg.train(recipe(images, 1, model=cnn)),
    }
    show("small CNN, 28 x 28, batches of 32, 1 epoch", in_turn(convolutions, rounds), "by hand")


if __name__ == "__main__":
    main()
