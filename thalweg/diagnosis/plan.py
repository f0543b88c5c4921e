"""The plan: every arm that a diagnosis may ask for, with its price, before anything is trained."""

import torch

from thalweg.core.device import resolve_device
from thalweg.core.notices import collecting
from thalweg.diagnosis.budget import Budget
from thalweg.diagnosis.fitting import ADAM, BIGGER, LONGER, SAME, SEEDS, SMALLER_RATE
from thalweg.diagnosis.generalizing import FEEDS, RESTRAINS, STRENGTHS
from thalweg.diagnosis.generalizing import SEEDS as PAIR
from thalweg.diagnosis.growth import bigger_siblings
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, first_batch, lay_out
from thalweg.diagnosis.stage import Planned
from thalweg.training import Recipe

FIRST = "How large are the losses?"


def plan(recipe: Recipe, device: torch.device | str = "auto") -> list[Planned]:
    """The arms that a diagnosis may ask for, each with its question, its price and about how long it takes.

    >>> from thalweg.core.source import Splits
    >>> recipe = Recipe(
    ...     data=Splits(train=(torch.ones(9, 3), torch.ones(9, 1))),
    ...     model=lambda: torch.nn.Linear(3, 1), objective=torch.nn.MSELoss(),
    ... )
    >>> plan(recipe)[0].arm, plan(recipe)[0].times
    ('as it is', 1.0)
    """
    with collecting():
        lab = lay_out(recipe, resolve_device(device), Budget(), lambda stage: None)
    return planned(lab)


def planned(lab: Laboratory) -> list[Planned]:
    """The same, for a recipe that is laid out."""
    one = lab.seconds_of(lab.recipe)

    def like_it(question: str, arm: str, times: float = 1.0) -> Planned:
        return Planned(question, arm, times, None if one is None else times * one)

    arms = [like_it(FIRST, CONTROL)]
    arms += [like_it(SAME, f"learning rate x {factor:g}") for factor in (10, 0.1, 100, 0.01, 3.16, 0.316)]
    arms += [like_it(SAME, ADAM), like_it(SAME, LONGER, 3.0)]
    arms += [like_it(SAME, f"the best of these on {SEEDS - 1} more seeds", SEEDS - 1.0)]
    for name, bigger in bigger_siblings(lab.recipe, first_batch(lab.train)):
        price, seconds = lab.price_of(bigger), lab.seconds_of(bigger)
        arms += [Planned(BIGGER, arm, price, seconds) for arm in (name, f"{name}, {SMALLER_RATE}")]
    more = 1 + len(lab.validation) / 2 / len(lab.train)
    arms += [like_it(RESTRAINS, f"{CONTROL}, on {PAIR - 1} more seed", PAIR - 1.0)]
    arms += [like_it(RESTRAINS, f"L2 penalty of {strength:g}", float(PAIR)) for strength in STRENGTHS]
    return [*arms, like_it(FEEDS, f"{more:.2g} x the training data", PAIR * more)]
