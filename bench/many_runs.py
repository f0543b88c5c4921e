"""Ten runs against the same loop written by hand ten times, and five folds against five."""

import argparse
from functools import partial

import torch
from digits import ADAM, by_hand, digits, filters, images, net, recipe
from joblib.externals.loky import get_reusable_executor
from machine import in_turn, machine, show

import thalweg

RUNS = 10


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    print(machine())
    data = digits()
    seeds = [recipe(data, 4, seed=seed) for seed in range(RUNS)]
    rates = [each.but(optimizer=partial(ADAM, lr=1e-3 * (k + 1))) for k, each in enumerate(seeds)]
    ways = {
        "by hand, one after another": lambda: [by_hand(data, 4, seed=seed) for seed in range(RUNS)],
        "thalweg.train, one after another": lambda: [thalweg.train(each) for each in seeds],
        "train_many, ten seeds": lambda: thalweg.train_many(seeds),
        "train_many, ten seeds and learning rates": lambda: thalweg.train_many(rates),
    }
    show(f"{RUNS} runs of the MLP 64-128-10, 4 epochs", in_turn(ways, chosen.rounds), "by hand, one after another")
    wide = [recipe(data, 1, seed=seed, model=partial(net, 512)) for seed in range(RUNS)]
    ways = {
        "by hand, one after another": lambda: [by_hand(data, 1, partial(net, 512), seed) for seed in range(RUNS)],
        "train_many": lambda: thalweg.train_many(wide),
    }
    show(f"{RUNS} runs of 512 units, 1 epoch", in_turn(ways, chosen.rounds), "by hand, one after another")
    folds = [tuple(part[torch.arange(len(part)) % 5 != k] for part in data) for k in range(5)]
    ways = {
        "by hand, five folds": lambda: [by_hand(fold, 4) for fold in folds],
        "cross_validate": lambda: thalweg.cross_validate(recipe(data, 4), folds=5),
    }
    show("5-fold cross-validation of the MLP, 4 epochs", in_turn(ways, chosen.rounds), "by hand, five folds")
    pictures = images()
    convolved = [recipe(pictures, 3, seed=seed, model=filters, batch_size=64) for seed in range(RUNS)]
    ways = {
        "by hand, one after another": lambda: [by_hand(pictures, 3, filters, seed, 64) for seed in range(RUNS)],
        "train_many, workers that wait": lambda: thalweg.train_many(convolved),
        "train_many, workers to be started": lambda: (_no_workers(), thalweg.train_many(convolved)),
    }
    show(f"{RUNS} runs of a small CNN, 28 x 28, 3 epochs", in_turn(ways, chosen.rounds), "by hand, one after another")


def _no_workers() -> None:
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


if __name__ == "__main__":
    main()
