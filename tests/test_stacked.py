"""Runs that are trained as a stack are those that would have been trained one after another, but for rounding."""

import signal
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg import EarlyStopping, Outcome, Recipe, Run, Splits
from thalweg.loss import Categorical, Gaussian
from thalweg.nn import mlp
from thalweg.training.build import prepare
from thalweg.training.chain import links
from thalweg.training.stacked import kind_of

X = torch.randn(230, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLASSES = (X[:, 0] + X[:, 1] ** 2 > 0.5).long() + (X[:, 2] > 0.5).long()
NUMBERS = X[:, :2].sin()
CPU = torch.device("cpu")


def data(y: Tensor = CLASSES, first: int = 0, last: int = 170, kind: torch.dtype = torch.float64) -> Splits:
    y = y.to(kind) if y.is_floating_point() else y
    return Splits(train=(X[first:last].to(kind), y[first:last]), validation=(X[170:].to(kind), y[170:]))


def recipe(**changes: Any) -> Recipe:
    made = Recipe(
        data=data(),
        model=lambda: mlp(6, 3, width=12).double(),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.003),
        batch_size=17,
        epochs=8,  # of 10 steps each
    )
    return made.but(**changes)


def rates(kind: Any, *, step: float, **settings: Any) -> list[dict[str, Any]]:
    return [{"seed": k, "optimizer": partial(kind, lr=step * (k + 1), **settings)} for k in range(3)]


def seeds(**changes: Any) -> list[dict[str, Any]]:
    return [{"seed": k, **changes} for k in range(3)]


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 9, bias=False), nn.BatchNorm1d(9), nn.Tanh(), nn.LayerNorm(9), nn.Dropout(0.1), nn.Linear(9, 3)
    ).double()


def dropping(rate: float) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Dropout(rate), nn.Linear(9, 3)).double()


def falling(step: int, steps: int | None) -> float:
    return 1 - step / (steps or 1)


KINDS: dict[str, list[dict[str, Any]]] = {
    "seeds": seeds(),
    "rates": rates(torch.optim.Adam, step=0.002),
    "momentum": rates(torch.optim.SGD, step=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "decays": [{"seed": k, "optimizer": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1 * k)} for k in range(3)],
    "decay in the gradient": [
        {"seed": k, "optimizer": partial(torch.optim.Adam, lr=0.01, weight_decay=0.1 * k)} for k in range(3)
    ],
    "a function as schedule": seeds(schedule=falling),
    "a scheduler": seeds(schedule=partial(torch.optim.lr_scheduler.StepLR, step_size=3, gamma=0.5)),
    "dropout of several rates": [{"seed": k, "model": partial(dropping, 0.2 * k)} for k in range(4)],
    "norms": seeds(model=normed),
    "folds of unequal sizes": [{"data": data(first=k, last=160 + 3 * k)} for k in range(3)],
    "class weights": seeds(objective=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64))),
    "labels left out": seeds(data=data(torch.where(X[:, 4] > 1, -100, CLASSES))),
    "numbers": seeds(data=data(NUMBERS), objective=nn.MSELoss(), model=lambda: mlp(6, 2, width=7).double()),
    "likelihoods": seeds(
        data=data(NUMBERS), objective=Gaussian("learned"), model=lambda: mlp(6, 4, width=7).double()
    ),
    "smoothed classes": seeds(objective=Categorical(label_smoothing=0.1)),
    "a linear model": seeds(model=lambda: nn.Linear(6, 3).double()),
    "one batch": seeds(batch_size=None, epochs=30),
    "stopped early": seeds(stopping=EarlyStopping(1), optimizer=partial(torch.optim.Adam, lr=0.1)),
}  # fmt: skip


def apart(first: Run, second: Run) -> float:
    """The largest difference of two runs, in their histories and both sets of weights."""
    rows = zip(first.history, second.history, strict=True)
    names = ("train_loss", "validation_loss", "gradient_norm", "learning_rate")
    histories = [abs(one[name] - other[name]) for one, other in rows for name in names]
    weights = [
        float((one - other).abs().max())
        for model in ("model", "last")
        for one, other in zip(
            getattr(first, model).state_dict().values(), getattr(second, model).state_dict().values(), strict=True
        )
    ]
    return max(histories + weights)


@pytest.mark.parametrize("name", KINDS)
def test_stacked_runs_are_the_separate_ones(name: str) -> None:
    """In float64 to 1e-10 after 80 steps, dropout's masks and all."""
    recipes = [recipe(**changes) for changes in KINDS[name]]
    kinds = {kind_of(prepare(each, CPU)) for each in recipes}
    assert len(kinds) == 1
    assert None not in kinds
    stacked, separate = thalweg.train_many(recipes), thalweg.train_many(recipes, stacked=False)
    assert [run.status for run in stacked] == [run.status for run in separate]
    assert [run.best_epoch for run in stacked] == [run.best_epoch for run in separate]
    assert max(map(apart, stacked, separate)) < 1e-10
    assert all(run.recipe is each for run, each in zip(stacked, recipes, strict=True))


def test_in_single_precision_the_first_steps_agree() -> None:
    recipes = [
        recipe(seed=k, data=data(kind=torch.float32), model=partial(mlp, 6, 3, width=12), epochs=2) for k in range(3)
    ]
    pairs = zip(thalweg.train_many(recipes), thalweg.train_many(recipes, stacked=False), strict=True)
    assert max(apart(*pair) for pair in pairs) < 1e-5


def test_a_run_does_not_depend_on_which_others_ride_along() -> None:
    two = thalweg.train_many([recipe(seed=0), recipe(seed=1)])
    many = thalweg.train_many(
        [recipe(seed=k, optimizer=partial(torch.optim.Adam, lr=0.003 * (1 + k % 2))) for k in range(6)]
    )
    assert apart(two[0], many[0]) < 1e-12


def test_a_run_that_diverges_leaves_the_others_alone() -> None:
    recipes = [recipe(seed=k, optimizer=partial(torch.optim.SGD, lr=[0.1, 1e300, 0.1][k])) for k in range(3)]
    good, bad, other = thalweg.train_many(recipes)
    assert [run.status for run in (good, bad, other)] == [Outcome.FINISHED, Outcome.DIVERGED, Outcome.FINISHED]
    alone = thalweg.train(recipes[1])
    assert [said for said in bad.notices if "at step" in said] == [said for said in alone.notices if "at step" in said]
    assert len(bad.history) == len(alone.history)
    assert not any("at step" in said for said in good.notices)
    assert apart(other, thalweg.train(recipes[2])) < 1e-10


def test_runs_share_no_memory_when_they_have_ended() -> None:
    first, second = thalweg.train_many([recipe(seed=0, epochs=2), recipe(seed=1, epochs=2)])
    before = [weight.clone() for weight in second.last.parameters()]
    with torch.no_grad():
        for weight in first.last.parameters():
            weight.fill_(7.0)
    assert all(torch.equal(old, new) for old, new in zip(before, second.last.parameters(), strict=True))
    for weight in first.last.parameters():
        assert weight.untyped_storage().nbytes() == weight.nbytes


class Custom(nn.Module):
    """A model that is no chain."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)
        return output


@pytest.mark.parametrize(
    "changes",
    [
        {"model": lambda: Custom().double()},
        {"penalty": lambda model: sum(weight.square().sum() for weight in model.parameters())},
        {"optimizer": partial(torch.optim.RMSprop, lr=0.01)},
        {"optimizer": partial(torch.optim.Adam, lr=0.01, amsgrad=True)},
        {"model": lambda: nn.Sequential(nn.Linear(6, 8).requires_grad_(False), nn.Linear(8, 3)).double()},
        {"objective": thalweg.objective(lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]))},
        {"objective": nn.CrossEntropyLoss(reduction="sum")},
        {"model": lambda: mlp(6, 3, width=3000).double()},
    ],
    ids=["own module", "penalty", "optimizer", "amsgrad", "frozen", "marked", "sum", "wide"],
)
def test_what_cannot_be_stacked_is_trained_one_after_another(changes: dict[str, Any]) -> None:
    recipes = [recipe(seed=k, epochs=1, **changes) for k in range(2)]
    assert kind_of(prepare(recipes[0], CPU)) is None
    both = thalweg.train_many(recipes)
    assert [run.history[0]["train_loss"] for run in both] == [
        thalweg.train(each).history[0]["train_loss"] for each in recipes
    ]


def test_kinds_are_told_apart_and_order_is_kept() -> None:
    mixed = [
        recipe(seed=0),
        recipe(model=Custom, data=data(kind=torch.float32)),
        recipe(seed=1, batch_size=34),
        recipe(seed=2),
    ]
    runs = thalweg.train_many([each.but(epochs=2) for each in mixed])
    assert [run.recipe.seed for run in runs if run.recipe is not None] == [0, 0, 1, 2]
    for run, each in zip(runs, mixed, strict=True):
        assert apart(run, thalweg.train(each.but(epochs=2))) < 1e-6


def test_an_interrupt_ends_all_runs_of_a_stack() -> None:
    def interrupt(history: list[dict[str, Any]]) -> bool:
        if len(history) == 3:
            signal.raise_signal(signal.SIGINT)
        return False

    runs = thalweg.train_many([recipe(seed=k, stopping=interrupt if k == 0 else None) for k in range(3)])
    assert runs[-1].status is Outcome.INTERRUPTED
    assert len(runs[-1].history) >= 3


def test_hooked_and_repeated_layers_are_no_chain() -> None:
    layer = nn.Linear(3, 3)
    assert links(nn.Sequential(layer, nn.ReLU(), layer)) is None
    hooked = nn.Linear(3, 3)
    hooked.register_forward_hook(lambda module, inputs, output: output * 2)
    assert links(nn.Sequential(hooked)) is None


def test_runs_that_ask_to_be_compiled_are_stacked_all_the_same() -> None:
    """A graph for each would take longer than the runs."""
    began = [recipe(seed=seed, compile=True) for seed in range(3)]
    runs = thalweg.train_many(began)
    alone = thalweg.train_many([each.but(compile=False) for each in began])
    assert [run.history[-1]["train_loss"] for run in runs] == [run.history[-1]["train_loss"] for run in alone]
