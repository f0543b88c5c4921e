"""What pieces of a run keep for themselves goes on with it: the ways in which people write models and optimizers."""

import itertools
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from resuming import bits, broken_off, recipe
from torch import Tensor, nn

import thalweg
from thalweg.optim import per_step

STEPS = (1, 5, 9, 14, 20)


def counted(kept: Any) -> float:
    kept["n"] += 1
    return float(kept["n"])


def grown(kept: Any) -> float:
    kept.append(1)
    return float(len(kept))


def added(kept: Any) -> float:
    kept += 1
    return float(np.abs(kept).sum())


KEPT: dict[str, tuple[Callable[[], Any], Callable[[Any], float]]] = {
    "a stream in a list": (
        lambda: [torch.Generator().manual_seed(1)],
        lambda kept: torch.rand(1, generator=kept[0]).item(),
    ),
    "streams in a dict": (
        lambda: {"np": np.random.default_rng(1), "py": random.Random(2), "old": np.random.RandomState(3)},
        lambda kept: kept["np"].normal() + kept["py"].gauss(0, 1) + kept["old"].normal(),
    ),
    "Counter": (Counter, counted),
    "defaultdict": (lambda: defaultdict(int), counted),
    "OrderedDict": (lambda: OrderedDict(n=0), counted),
    "deque": (lambda: deque(maxlen=7), grown),
    "array": (lambda: np.zeros(3), added),
    "complex array": (lambda: np.zeros(3, np.complex64), added),
    "the same list twice": (
        lambda: (lambda same: {"a": same, "b": same})([]),
        lambda kept: grown(kept["a"]) + len(kept["b"]),
    ),
    "a tensor and its row": (
        lambda: (lambda whole: {"whole": whole, "row": whole[0]})(torch.zeros(2, 3)),
        lambda kept: float(kept["row"].add_(1).sum() + kept["whole"].sum()),
    ),
    "an array and its tensor": (
        lambda: (lambda own: {"own": own, "tensor": torch.from_numpy(own)})(np.zeros(3)),
        lambda kept: added(kept["own"]) + float(kept["tensor"].sum()),
    ),
    "another optimizer": (
        lambda: torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1, momentum=0.9),
        lambda kept: (
            kept.param_groups[0].__setitem__("lr", kept.param_groups[0]["lr"] * 0.9) or kept.param_groups[0]["lr"]
        ),
    ),
}


class Keeping(nn.Module):
    """A model whose output depends on what it keeps, which changes at each step."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.layer, self.name = nn.Linear(5, 2), name
        self.kept = KEPT[name][0]()
        self.last = 0.0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.last = KEPT[self.name][1](self.kept)
        output: Tensor = self.layer(x) * (1 + 0.01 * self.last)
        return output


class Bank(nn.Module):
    """Buffers that grow, or are None at first; an attribute and a stream that come later; an alias that is broken."""

    bank: Tensor
    mean: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 2)
        self.register_buffer("bank", torch.zeros(0, 2))
        self.register_buffer("mean", None)
        self.slow = self.layer.weight.data

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)
        if self.training:
            self.bank = torch.cat([self.bank, output.detach()])[-30:]
            self.mean = x.mean(0) if self.mean is None else 0.9 * self.mean + 0.1 * x.mean(0)
            self.slow = 0.9 * self.slow + 0.1 * self.layer.weight.detach()
            if not hasattr(self, "late"):
                self.late, self.drawn = torch.zeros(2), np.random.default_rng(4)
            self.late = self.late + float(self.drawn.normal())
        shift = self.bank.mean(0) if len(self.bank) else 0
        return output + shift + 0.01 * getattr(self, "late", torch.zeros(2)) + x @ self.slow.T


class Inner(torch.optim.Optimizer):
    """An optimizer around another, with counters, arrays and deques of its own."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.02})
        self.inner = torch.optim.Adam(self.param_groups, lr=0.02)
        self.turns, self.norms = 0, deque([0.0], maxlen=3)
        self.slow = [[weight.detach().clone() for weight in group["params"]] for group in self.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self.inner.step()
        self.turns += 1
        for group, slow in zip(self.param_groups, self.slow, strict=True):
            for weight, own in zip(group["params"], slow, strict=True):
                state = self.state[weight]
                state["array"] = state.get("array", np.zeros(1)) + 0.01
                state.setdefault("last", deque(maxlen=2)).append(float(weight.sum()))
                self.norms.append(float(weight.norm()))
                own.lerp_(weight, 0.5)
                if self.turns % 3 == 0:
                    weight.copy_(own * (1 + 1e-3 * (sum(self.norms) + state["array"][0] + sum(state["last"]))))


class Waning:
    """A scheduler that has no state_dict."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer, self.seen = optimizer, deque(maxlen=4)

    def step(self) -> None:
        self.seen.append(self.optimizer.param_groups[0]["lr"])
        self.optimizer.param_groups[0]["lr"] *= 0.7 + 0.05 * len(self.seen)


WAYS: dict[str, dict[str, Any]] = {name: {"model": partial(Keeping, name)} for name in KEPT}
WAYS |= {
    "buffers": {"model": Bank},
    "inner optimizer": {"optimizer": Inner},
    "scheduler": {"schedule": per_step(Waning)},
}


@pytest.mark.parametrize("name", WAYS)
def test_what_is_kept_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    chosen = recipe(**WAYS[name])
    whole = bits(thalweg.train(chosen))
    for step in STEPS:
        assert bits(thalweg.resume(broken_off(chosen, tmp_path / str(step), step), chosen)) == whole


class Iterating(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.rates = nn.Linear(5, 2), itertools.cycle([0.1, 0.2, 0.3])

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x) * (1 + (next(self.rates) if self.training else 0))
        return output


class Counted:
    """A metric that remembers."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, output: Tensor, target: Tensor) -> float:
        self.calls += 1
        return float(self.calls)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (lambda: {"model": Iterating}, "What the model keeps in rates changes while it trains and is in no checkpoint"),
        (lambda: {"metrics": {"calls": Counted()}}, "What the recipe keeps in calls changes while it trains"),
    ],
)
def test_what_cannot_be_kept_is_named(changes: Callable[[], dict[str, Any]], says: str, tmp_path: Path) -> None:
    run = thalweg.resume(broken_off(recipe(**changes()), tmp_path, 9), recipe(**changes()))
    assert [said for said in run.notices if said.startswith(says)], run.notices
