"""Whether the label of a case is true: the training loss that its own network reaches, and that of a larger one.

A fault is one of the optimization where a network of the same size and kind, trained better, comes to a far lower
training loss; it is a bias of the model where no such training does, and only a larger or better informed one does.

python bench/diagnosis_labels.py [--only NAME]
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diagnosis_cases import CASES, nets
from diagnosis_cases import course_nets as own
from diagnosis_certify import outputs, split_of
from torch import nn

import thalweg
from thalweg.diagnosis import Cause

ADAM = torch.optim.Adam
RATES = (3e-3, 1e-2)


def loss_of(recipe: thalweg.Recipe) -> float:
    """The loss of a training on its own training part, infinite where it fails."""
    try:
        run = thalweg.train(recipe)
    except (thalweg.RecipeError, thalweg.DataError):
        return float("inf")
    x, y = split_of(recipe, "train")
    if not run.status.good:
        return float("inf")
    return float(recipe.objective(outputs(run.model, x, recipe.batch_size), y))


def wide(*widths: int, act: type[nn.Module] = nn.ReLU) -> Callable[[], nn.Module]:
    """A larger network of linear layers."""
    return lambda: nets.mlp(*widths, act=act)


def saturated(width: int) -> nn.Module:
    """Attention whose queries and keys begin too large."""
    built = nets.Lookup(8, width, 4)
    for layer in (built.query, built.key):
        nn.init.normal_(layer.weight, std=10.0)
    return built


def far_up(width: int) -> nn.Module:
    """A Poisson regression whose last bias begins at 12."""
    built = nets.mlp(6, width, width, 1)
    nn.init.constant_(built[4].bias, 12.0)
    return built


LARGER: dict[str, Callable[[], nn.Module]] = {
    "many-filters-without-norm": partial(own.filters_in_a_row, 7, False, 30),
    "a-memory-that-fades": partial(own.Identity, 0.5, "tanh", 96),
    "a-recurrence-that-begins-chaotic": partial(own.Identity, 4.0, "tanh", 96, mixed=True),
    "post-norm-without-warm-up": partial(own.DeepTokens, 4, width=64),
    "a-rate-that-falls-as-one-over-the-step": wide(8, 256, 256, 1),
    "factors-that-begin-at-the-saddle": partial(own.Factors, 12, 1e-4),
    "a-sigmoid-saturated-under-a-squared-error": partial(own.Probability, 30, 20.0, 96),
    "adadelta-at-the-rate-of-adam": partial(own.Causal, width=128),
    "a-first-step-that-kills-all-units": wide(8, 256, 256, 1),
    "branches-that-double-what-they-get": partial(own.branches, 1.5, width=64),
    "a-deep-code-of-sigmoids": wide(8, 144, 96, 48, 18, 48, 96, 144, 8, act=nn.Sigmoid),
    "gradients-under-the-noise-of-privacy": partial(nets.Bag, 120, 64, 2),
    "the-range-test-left-on": partial(own.Causal, width=128),
    "log-rates-that-begin-at-twelve": partial(far_up, 256),
    "centres-far-from-all-points": partial(own.Radial, 9.0, 64),
    "temperatures-in-kelvin": wide(6, 256, 256, 1),
    "stopped-on-the-plateau": wide(10, 256, 2),
    "attention-that-begins-saturated": partial(saturated, 64),
}
"""Larger networks, begun as the faulty ones are, for the faults of the optimization."""


def better(recipe: thalweg.Recipe, twin: thalweg.Recipe, same: bool) -> dict[str, thalweg.Recipe]:
    """Other trainings of the same network; with the twin's start where that network is as large."""
    starts: dict[str, Any] = {"": recipe.model} | ({"twin's start, ": twin.model} if same else {})
    plain = recipe.but(schedule=None, clip_norm=None, loop=None, batch_size=32, epochs=max(recipe.epochs, twin.epochs))
    found = {
        f"{start}Adam {rate:g}": plain.but(model=model, optimizer=partial(ADAM, lr=rate))
        for start, model in starts.items()
        for rate in RATES
    }
    if same:
        found |= {"as the twin": recipe.but(**{name: getattr(twin, name) for name in SETTINGS})}
    longer = plain.but(optimizer=partial(ADAM, lr=3e-3), epochs=3 * plain.epochs)
    return found if same else found | {"Adam 0.003, thrice as long": longer}


SETTINGS = ("model", "optimizer", "schedule", "clip_norm", "loop", "batch_size", "epochs")


def size(recipe: thalweg.Recipe) -> int:
    """How many weights the model has."""
    return sum(weight.numel() for weight in recipe.model().parameters())


def measure(name: str) -> str:
    """The losses of a case in a line."""
    case = CASES[name]
    recipe, twin = case.faulty(), case.repaired() if case.repaired else case.faulty()
    bias = case.cause is Cause.MODEL_BIAS
    weights, theirs = size(recipe), size(twin)
    same = not bias and 0.9 <= theirs / weights <= 1.1
    losses = {what: loss_of(each) for what, each in better(recipe, twin, same).items()}
    best = min(losses, key=losses.__getitem__)
    larger = twin if bias else recipe.but(model=LARGER[name]) if name in LARGER else None
    told = f"{loss_of(larger):.4f} ({size(larger)} weights)" if larger is not None else "not measured"
    return (
        f"{name:<44} {case.cause!s:<12} train loss {loss_of(recipe):.4f} ({weights} weights), better trained "
        f"{losses[best]:.4f} ({best}), {'larger or better informed' if bias else 'larger, as begun'} {told}"
    )


def main() -> None:
    """Measure the cases of courses and papers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="part of a name")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name, case in CASES.items():
        made = case.faulty.__module__.rsplit(".", 1)[-1]
        if made in ("course_optimization", "course_bias") and (asked.only is None or asked.only in name):
            print(measure(name), flush=True)


if __name__ == "__main__":
    main()
