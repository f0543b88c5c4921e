"""Ten runs against the same loop written by hand ten times, and five folds against five."""

import argparse
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from digits import ADAM, by_hand, digits, encoder, filters, images, net, recipe, sequences
from joblib.externals.loky import get_reusable_executor
from machine import in_turn, machine, show
from peers import estimator

import thalweg

RUNS, EPOCHS = 10, 20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    print(machine())
    data = digits()
    seeds = [recipe(data, EPOCHS, seed=seed) for seed in range(RUNS)]
    rates = [each.but(optimizer=partial(ADAM, lr=1e-3 * (k + 1))) for k, each in enumerate(seeds)]
    ways = {
        "by hand, one after another": lambda: [by_hand(data, EPOCHS, seed=seed) for seed in range(RUNS)],
        "thalweg.train, one after another": lambda: [thalweg.train(each) for each in seeds],
        "train_many, ten seeds": lambda: thalweg.train_many(seeds),
        "train_many, ten seeds and learning rates": lambda: thalweg.train_many(rates),
    }
    title = f"{RUNS} runs of the MLP 64-128-10, {EPOCHS} epochs"
    show(title, in_turn(ways, chosen.rounds), "by hand, one after another")
    wide = [recipe(data, 1, seed=seed, model=partial(net, 512)) for seed in range(RUNS)]
    ways = {
        "by hand, one after another": lambda: [by_hand(data, 1, partial(net, 512), seed) for seed in range(RUNS)],
        "train_many": lambda: thalweg.train_many(wide),
    }
    show(f"{RUNS} runs of 512 units, 1 epoch", in_turn(ways, chosen.rounds), "by hand, one after another")
    folds = [tuple(part[torch.arange(len(part)) % 5 != k] for part in data) for k in range(5)]
    ways = {
        "by hand, five folds": lambda: [by_hand(fold, EPOCHS) for fold in folds],
        "cross_validate": lambda: thalweg.cross_validate(recipe(data, EPOCHS), folds=5),
    }
    if skorch := find_spec("skorch"):
        ways["skorch and scikit-learn's cross_validate"] = lambda: _by_skorch(data)
    show(f"5-fold cross-validation of the MLP, {EPOCHS} epochs", in_turn(ways, chosen.rounds), "by hand, five folds")
    if not skorch:
        print("  skorch: missing: pip install -r bench/requirements.txt")
    several = (("a small CNN, 28 x 28", filters, images(), 3), ("a small encoder, 16 x 8", encoder, sequences(), 5))
    for title, model, inputs, epochs in several:
        ways = _in_workers(inputs, epochs, model)
        show(f"{RUNS} runs of {title}, {epochs} epochs", in_turn(ways, chosen.rounds), "by hand, one after another")


def _in_workers(data: Any, epochs: int, model: Callable[[], Any]) -> dict[str, Callable[[], object]]:
    recipes = [recipe(data, epochs, seed=seed, model=model, batch_size=64) for seed in range(RUNS)]
    return {
        "by hand, one after another": lambda: [by_hand(data, epochs, model, seed, 64) for seed in range(RUNS)],
        "train_many, workers that wait": lambda: thalweg.train_many(recipes),
        "train_many, workers to be started": lambda: (_no_workers(), thalweg.train_many(recipes)),
    }


def _by_skorch(data: Any) -> None:
    from sklearn.model_selection import cross_validate

    x, y = (part.numpy() for part in data)
    cross_validate(estimator(EPOCHS), x, y, cv=5)


def _no_workers() -> None:
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


if __name__ == "__main__":
    main()
