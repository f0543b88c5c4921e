"""One run against the loop written by hand: the same data, network, optimizer and number of steps."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from digits import by_hand, digits, encoder, filters, images, recipe, sequences
from machine import in_turn, machine, show

import thalweg
from thalweg.training import steps
from thalweg.training.tally import RunningMean
from thalweg.training.train import ready

EPOCHS = 10


def steps_alone(chosen: thalweg.Recipe) -> Callable[[], object]:
    """The steps of some epochs, prepared before."""
    training = ready(chosen, "cpu")

    def run() -> None:
        for epoch in range(1, EPOCHS + 1):
            training.position.batch = 0
            for loss, _ in steps(training, epoch, RunningMean(training.device)):
                loss.item()

    return run


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(machine())
    data = digits()
    chosen = recipe(data, EPOCHS)
    mlp: dict[str, Callable[[], object]] = {
        "by hand": partial(by_hand, data, EPOCHS),
        "thalweg, steps alone": steps_alone(chosen),
        "thalweg, compiled steps alone": steps_alone(chosen.but(compile=True)),
        "thalweg.train": lambda: thalweg.train(chosen),
    }
    show(f"MLP 64-128-10, digits, batches of 32, {EPOCHS} epochs", in_turn(mlp, rounds), "by hand")
    several: tuple[tuple[str, Any, Any], ...] = (
        ("small CNN, 28 x 28, batches of 64", filters, images()),
        ("small Transformer encoder, 16 x 8, batches of 64", encoder, sequences()),
    )
    for title, model, inputs in several:
        own = recipe(inputs, 2, model=model, batch_size=64)
        ways: dict[str, Callable[[], object]] = {
            "by hand": partial(by_hand, inputs, 2, model, batch_size=64),
            "thalweg.train": partial(thalweg.train, own),
        }
        if model is filters:
            ways["thalweg.train, channels last"] = partial(thalweg.train, own.but(channels_last=True))
        show(f"{title}, 2 epochs", in_turn(ways, rounds), "by hand")


if __name__ == "__main__":
    main()
