"""A compiled run against the eager one, in a process of its own: the type checks of the tests cannot be traced."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from resuming import bits, broken_off, recipe
from torch import nn

import thalweg

OPTIMIZERS: dict[str, Any] = {
    "adamw": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
    "nesterov": partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
}


def net() -> nn.Module:
    """No bias before the batch norm: its gradient is rounding alone, which Adam makes steps of."""
    norm = nn.BatchNorm1d(8)
    return nn.Sequential(nn.Linear(5, 8, bias=False), norm, nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def close(one: thalweg.Run, other: thalweg.Run) -> bool:
    pairs = zip(one.last.state_dict().values(), other.last.state_dict().values(), strict=True)
    return all(torch.allclose(own, its, rtol=1e-3, atol=1e-5) for own, its in pairs)


def main(optimizer: str, folder: Path) -> None:
    """Dropout, batch norm, a schedule, and a last batch of another size: 66 examples in batches of 20."""
    torch.set_num_threads(1)
    chosen = recipe(
        model=net,
        optimizer=OPTIMIZERS[optimizer],
        batch_size=20,
        schedule=lambda step, steps: 1 - step / steps,
        epochs=3,
    )
    eager, whole = thalweg.train(chosen), thalweg.train(chosen.but(compile=True))
    assert not whole.notices, whole.notices
    assert close(eager, whole)
    for mine, its in zip(whole.history, eager.history, strict=True):
        for name in ("train_loss", "validation_loss", "gradient_norm"):
            assert abs(mine[name] / its[name] - 1) < 1e-3, (name, mine, its)
    assert bits(whole) != bits(eager)  # it was compiled
    again = thalweg.resume(broken_off(chosen.but(compile=True), folder, 7), chosen.but(compile=True))
    assert bits(again) == bits(whole)


if __name__ == "__main__":
    for name in OPTIMIZERS:
        print(name, file=sys.stderr)
        main(name, Path(sys.argv[1]) / name)
