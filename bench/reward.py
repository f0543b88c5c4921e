"""Spelling to sound (CMUdict) trained further for its errors, beside as many updates of the likelihood.

The network is that of docs/pairs.md, "Spelling to sound", or a run of it that --start names. From its best weights it
goes on once over so many pairs of train, drawn without looking: by the likelihood, and by a reward (1 - errors over the
sounds). Last weights, decoded greedily; differences of the same words, with intervals by resampling them. The data lie
in the folder cmudict of the one that the variable THALWEG_DATA names.

    THALWEG_DATA=... python bench/reward.py
    THALWEG_DATA=... python bench/reward.py --start RUN --set objective.sharpness=0.005 --pairs 40000
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from time import process_time
from typing import NamedTuple

import numpy as np
import torch
from machine import machine
from torch import nn

import thalweg
from thalweg.core.convert import loaded
from thalweg.core.source import Splits
from thalweg.data import PairSource
from thalweg.optim import Cosine, WarmUp
from thalweg.study.spelling import mistakes, outputs, over_sources
from thalweg.training import Recipe
from thalweg.training.evaluate import example_losses

BASE = (
    "data.stress=false", "data.validation_share=0.02", "data.test_share=0.1", "model.kind=rnn-seq2seq",
    "model.width=128", "model.dropout=0.1", "optimizer.lr=0.003", "epochs=8",
)  # fmt: skip
REWARD = (
    "objective.reward=wer", "objective.method=minimum-risk", "objective.sharpness=1", "objective.gold=false",
    "objective.temperature=0.7",
)  # fmt: skip
TOKENS, BETAS, DEALT = 4096, (0.9, 0.98), 12
"""The positions of a batch, those of AdamW, and what deals the pairs."""


class Judged(NamedTuple):
    """Of every word of test: the edits of its output, the sounds it has, and whether it is wrong; nats by pair."""

    edits: np.ndarray
    sounds: np.ndarray
    wrong: np.ndarray
    nats: float


def judge(model: nn.Module, recipe: Recipe, test: PairSource) -> Judged:
    """What a model puts out for each word once, however many pronunciations it has: the nearest one counts."""
    found = mistakes([each.text for each in outputs(model, test)], test, "words")
    first = list({word: place for place, word in reversed(list(enumerate(test.sources)))}.values())
    losses = example_losses(model, recipe, test, torch.device("cpu"))
    nats = float((losses.values * losses.weights).sum() / losses.weights.sum())
    distance = np.asarray(found.distance)[first]
    return Judged(distance, np.asarray(found.length)[first], (distance > 0).astype(int), nats)


def further(recipe: Recipe, pairs: int, rate: float) -> Recipe:
    """Once over so many pairs, at a rate that rises for a tenth of the updates and falls by a cosine."""
    train = loaded(recipe.data.train)
    dealt = np.random.default_rng(DEALT).permutation(len(train))[:pairs].tolist()
    return recipe.but(
        data=Splits(train=train.take(dealt)),
        optimizer=partial(torch.optim.AdamW, lr=rate, betas=BETAS, weight_decay=0.0),
        schedule=WarmUp(0.1, then=Cosine()),
        metrics={},
        epochs=1,
    )


def main() -> None:
    """Train what there is to begin with, go on in both ways, and print the scores and their differences."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--start", type=Path, help="a run of the network, in place of training it")
    ask.add_argument("--set", action="append", default=[], help="a setting of the reward, as of thalweg train")
    ask.add_argument("--pairs", type=int, default=118_000, help="the pairs that are gone over")
    ask.add_argument("--rate", type=float, default=1e-4, help="the largest learning rate of both")
    ask.add_argument("--split", default="test", help="the split that is judged")
    ask.add_argument("--out", type=Path, default=Path("reward"), help="where the network is written, if it is trained")
    said = ask.parse_args()
    if not os.environ.get("THALWEG_DATA"):
        sys.exit("THALWEG_DATA names no folder of real data. Set it to the one that holds cmudict.")
    torch.set_num_threads(1)
    words = str(Path(os.environ["THALWEG_DATA"]) / "cmudict" / "cmudict.dict.gz")
    print(machine(), flush=True)
    start = said.start or thalweg.train(thalweg.load(words, assignments=list(BASE)), out=said.out, device="cpu").path
    ways = {"likelihood": (), "reward": (*REWARD, *said.set)}
    recipes = {name: thalweg.load(words, start=start, assignments=[f"data.tokens={TOKENS}", *more])
               for name, more in ways.items()}  # fmt: skip
    plain = thalweg.load(words, start=start)
    test = loaded(getattr(plain.data, said.split))
    judged = {"before": judge(plain.model(), plain, test)}
    for name, recipe in recipes.items():
        started, going = process_time(), further(recipe, said.pairs, said.rate)
        run = thalweg.train(going, device="cpu")
        spent = process_time() - started
        judged[name] = judge(run.last, plain, test)
        updates = going.data.train.count_batches()
        print(f"{name}: {updates} updates, {spent:.0f} s of processor time; {going.objective!r}", flush=True)
    for name, each in judged.items():
        wrong, rate = each.wrong.mean(), each.edits.sum() / each.sounds.sum()
        print(f"{name:<10} words wrong {wrong:.4f}  errors over sounds {rate:.4f}  nats a token {each.nats:.4f}")
    one = np.ones_like(judged["before"].wrong)
    for name, other in (("likelihood", "before"), ("reward", "before"), ("reward", "likelihood")):
        a, b = judged[name], judged[other]
        for quantity, value, length in (
            ("words wrong", a.wrong - b.wrong, one),
            ("errors", a.edits - b.edits, a.sounds),
        ):
            check = over_sources(quantity, value, length)
            print(f"{name} - {other}: {quantity} {check.value:+.4f} [{check.low:+.4f}, {check.high:+.4f}]")


if __name__ == "__main__":
    main()
