"""The arms of a study: the same training in several variations, each under every seed, through `train_many`."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thalweg.core.errors import RecipeError, RunError, did_you_mean
from thalweg.training import Outcome, Recipe, Run, train_many

WIDER = 3
"""How often a grid of learning rates is made wider by one more."""

Progress = Callable[[float, str], None]
"""Called with the share of the study that is done, and what was just done."""


def train_arms(
    arms: Mapping[str, Sequence[Recipe]], progress: Progress, window: tuple[float, float] = (0.0, 1.0)
) -> dict[str, list[Run]]:
    """Train each arm's recipes; `window` is the part of the study that these arms are.

    A run may diverge, which is an answer; one that raised an error is none, and raises `RunError`.
    """
    start, end = window
    trained: dict[str, list[Run]] = {}
    for name, recipes in arms.items():
        trained[name] = train_many(recipes, device="cpu")
        for run in trained[name]:
            if run.status is Outcome.INTERRUPTED:
                raise run.error or KeyboardInterrupt
            if run.error is not None:
                raise RunError(f"The arm '{name}' ended as {run.status}: {run.error}") from run.error
        progress(start + (end - start) * len(trained) / len(arms), name)
    return trained


def standing_in(names: Sequence[str], given: Mapping[str, str] | None) -> dict[str, str]:
    """What truly stands in each arm: itself, or what is given in its place to take an effect out.

    >>> standing_in(("plain", "deep"), {"deep": "plain"})
    {'plain': 'plain', 'deep': 'plain'}

    Raises `RecipeError` for an arm that is none.
    """
    for name in given or {}:
        if name not in names:
            raise RecipeError(f"The study has no arm '{name}'.{did_you_mean(name, names)}")
    return dict(zip(names, names, strict=True)) | dict(given or {})


def tuning_seeds(seeds: Sequence[int], count: int = 2) -> list[int]:
    """Seeds to choose a learning rate by, none of which is judged.

    >>> tuning_seeds(range(1000, 1005))
    [1500, 1501]
    """
    return [seeds[0] + 500 + number for number in range(count)]


def tuned_rate(
    name: str,
    grid: Sequence[float],
    recipes: Callable[[float], Sequence[Recipe]],
    progress: Progress,
    window: tuple[float, float] = (0.0, 1.0),
    judge: Callable[[Run], float] | None = None,
) -> float:
    """The best rate of a grid by the train loss, or by what `judge` is least for, as `tuned_rates` finds it."""
    return tuned_rates({name: recipes}, grid, progress, window, judge)[name]


def tuned_rates(
    arms: Mapping[str, Callable[[float], Sequence[Recipe]]],
    grid: Sequence[float],
    progress: Progress,
    window: tuple[float, float] = (0.0, 1.0),
    judge: Callable[[Run], float] | None = None,
) -> dict[str, float]:
    """The best rate of each arm by the train loss, or by what `judge` is least for; all try the same rates.

    The grid is made wider by its own ratio as long as the best rate of any arm lies at its edge; a grid of one rate is
    no search, and that rate is taken.

    An optimum at the edge of the search is none (Godbole et al., "Deep Learning Tuning Playbook", 2023).
    """
    if len(grid) == 1:
        return dict.fromkeys(arms, grid[0])
    trials: dict[str, dict[float, Sequence[Run]]] = {name: {} for name in arms}
    ratio, wanted = grid[1] / grid[0], list(grid)
    for _ in range(1 + WIDER):
        recipes = {f"{name}, rate {rate:.3g}": make(rate) for name, make in arms.items() for rate in wanted}
        runs = train_arms(recipes, progress, window)
        for name, tried in trials.items():
            tried |= {rate: runs[f"{name}, rate {rate:.3g}"] for rate in wanted}
        best = {name: best_rate(tried, judge or train_loss) for name, tried in trials.items()}
        rates = next(iter(trials.values()))
        beyond = {min(rates): min(rates) / ratio, max(rates): max(rates) * ratio}
        wanted = [further for edge, further in beyond.items() if edge in best.values()]
        if not wanted:
            break
        window = (window[1], window[1])
    return best


def best_rate(trials: Mapping[float, Sequence[Run]], judge: Callable[[Run], float]) -> float:
    """The learning rate whose runs are least on average over the tuning seeds, as they are judged."""
    means = {rate: sum(judge(run) for run in runs) / len(runs) for rate, runs in trials.items()}
    finite = {rate: mean for rate, mean in means.items() if mean == mean}
    return min(finite, key=finite.__getitem__) if finite else min(trials)


def train_loss(run: Run) -> float:
    """The cross-entropy of the last weights on the train split, in evaluation mode; NaN where the run diverged."""
    assert run.recipe is not None
    return loss(run.last, run.recipe.data.train)


def error_on_test(run: Run) -> float:
    """The share of wrong answers of the last weights on the test split."""
    assert run.recipe is not None
    return 1 - accuracy(run.last, run.recipe.data.test)


def loss(model: nn.Module, split: tuple[Tensor, Tensor]) -> float:
    """The mean cross-entropy in evaluation mode."""
    return float(cross_entropy(logits(model, split[0]), split[1]))


def accuracy(model: nn.Module, split: tuple[Tensor, Tensor]) -> float:
    """The share of right answers."""
    return float((logits(model, split[0]).argmax(1) == split[1]).float().mean())


@torch.no_grad()
def logits(model: nn.Module, x: Tensor) -> Tensor:
    """The outputs in evaluation mode."""
    output: Tensor = model.eval()(x)
    return output
