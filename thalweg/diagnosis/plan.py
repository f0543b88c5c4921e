"""The plan: every arm that a diagnosis may ask for, with its price, before anything is trained."""

import math

import torch

from thalweg.core.beginning import has_seen_train
from thalweg.core.device import resolve_device
from thalweg.core.nest import Nest, leaves
from thalweg.core.nodes import NodeSource
from thalweg.core.notices import collecting
from thalweg.diagnosis.arms import LONGER, could_be_better_trained
from thalweg.diagnosis.budget import Budget
from thalweg.diagnosis.checking import PROBE
from thalweg.diagnosis.exchanges import exchanged
from thalweg.diagnosis.fitting import BIGGER, SAME, bigger_arms
from thalweg.diagnosis.generalizing import DIVISORS, FEEDS, RESTRAINS, SHRINKS, STARVES, STRENGTHS
from thalweg.diagnosis.generalizing import SEEDS as PAIR
from thalweg.diagnosis.growth import NARROWER
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, first_batch, lay_out
from thalweg.diagnosis.screening import FRESH
from thalweg.diagnosis.stage import Planned
from thalweg.diagnosis.tabled import MOST
from thalweg.diagnosis.together import PRICE, TOGETHER
from thalweg.training import Recipe

FIRST = "How large are the losses?"
BESIDE = "How small could they be, and what do the checks see?"
MENDED = "what the checks ask for, mended"
BEGIN, EACH, EACH_NUMBER = 1.1, 2.1e-3, 2.5e-5
"""Seconds of processor time that reference learners and the checks of data take, that each example adds, and that each
of its numbers adds (docs/log.md)."""


def plan(recipe: Recipe, device: torch.device | str = "auto", budget: float | str | Budget = math.inf) -> list[Planned]:
    """The arms that a diagnosis may ask for, each with its question, its price and about how long it takes.

    Arms that a `budget` could not hold even alone are left out.

    >>> from thalweg.core.source import Splits
    >>> recipe = Recipe(
    ...     data=Splits(train=(torch.ones(9, 3), torch.ones(9, 1))),
    ...     model=lambda: torch.nn.Linear(3, 1), objective=torch.nn.MSELoss(),
    ... )
    >>> plan(recipe)[0].arm, plan(recipe)[0].times
    ('as it is', 1.0)
    """
    with collecting():
        lab = lay_out(recipe, resolve_device(device), Budget.of(budget), lambda stage: None)
    return planned(lab)


def beside(lab: Laboratory, batch: Nest) -> float:
    """About how many seconds reference learners and the checks of the data take, which is most of a short diagnosis."""
    examples = min(len(lab.train) + len(lab.validation), MOST)
    inputs = batch[0] if isinstance(batch, tuple | list) and batch else batch
    numbers = sum(leaf.numel() / max(len(leaf), 1) for leaf in leaves(inputs) if isinstance(leaf, torch.Tensor))
    return BEGIN + examples * (EACH + EACH_NUMBER * numbers)


def planned(lab: Laboratory) -> list[Planned]:
    """The same, for a recipe that is laid out."""
    one, batch = lab.seconds_of(lab.recipe), first_batch(lab.train)

    def like_it(question: str, arm: str, times: float = 1.0) -> Planned:
        return Planned(question, arm, times, None if one is None else times * one)

    arms = [like_it(FIRST, CONTROL)]
    data = "reference learners and checks of the data, which train no network"
    arms.append(Planned(BESIDE, data, 0.0, beside(lab, batch)))
    arms.append(like_it(BESIDE, "checks of wiring and dynamics", PROBE))
    arms += [like_it(SAME, name) for name in (MENDED, *(name for name, *_ in exchanged(lab.recipe, batch, ())))]
    arms += [like_it(SAME, name, 3.0 if name == LONGER else 1.0) for name in could_be_better_trained(lab, batch)]
    arms.append(like_it(SAME, f"the best of these, and the recipe as it is, on {FRESH} fresh seeds", 2.0 * FRESH))
    bigger = [arm for arm in bigger_arms(lab, lab.recipe, None) if lab.affords_once(arm[1])]
    arms += [Planned(BIGGER, name, lab.price_of(recipe), lab.seconds_of(recipe)) for name, recipe in bigger]
    arms.append(like_it(TOGETHER, "changes on top of each other", PRICE))
    more = 1 + len(lab.validation) / 2 / len(lab.train)
    arms += [like_it(RESTRAINS, f"{CONTROL}, on {PAIR - 1} more seed", PAIR - 1.0)]
    arms += [like_it(RESTRAINS, f"L2 penalty of {strength:g}", float(PAIR)) for strength in STRENGTHS]
    costs = 1.0 if isinstance(lab.train, NodeSource) else more  # all of a graph goes through the network anyway
    arms.append(like_it(FEEDS, f"{more:.2g} x the training data", PAIR * costs))
    arms += [like_it(SHRINKS, f"1/{divisor} as wide", float(PAIR)) for divisor in NARROWER]
    divisors = () if has_seen_train(lab.recipe.model) else DIVISORS
    return [*arms, *(like_it(STARVES, f"1/{divisor} of the training data", float(PAIR)) for divisor in divisors)]
