"""What a network's own modules do in training alone: it is seen, left out alone, and blamed where it is at fault."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thalweg import Cause, Recipe, Splits
from thalweg.diagnosis.budget import Budget
from thalweg.diagnosis.exchanges import exchanged
from thalweg.diagnosis.fitting import explain_train_loss
from thalweg.diagnosis.floor import Floor, reference_floor
from thalweg.diagnosis.laboratory import lay_out
from thalweg.diagnosis.own_training import AS_EVALUATED, InEvaluation, as_evaluated, changes_in_training

DRAWN = torch.Generator().manual_seed(0)
X = torch.randn(240, 4, generator=DRAWN)
Y = (X[:, 0] > 0).long()


class Plain(nn.Module):
    """A network with dropout and norms of torch, which alone do otherwise in training."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class Turning(Plain):
    """Half of the inputs are turned in training, which exchanges the classes."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = torch.where(torch.rand(len(x), 1) < 0.5, -x, x)
        return super().forward(x)


class Dropping(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.5, self.training))


class Rarely(Plain):
    """It does it in one of three passes."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += self.training
        return super().forward(2 * x if self.passes == TIMES_SEEN else x)


TIMES_SEEN = 3


class Failing(Plain):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise KeyError("no such thing")
        return super().forward(x)


class Always(Plain):
    """It draws in evaluation too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.randn_like(x))


class Keeping(Plain):
    """It keeps something from pass to pass."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(self.passes * x)


class Norm(nn.BatchNorm1d):
    """A norm of the user's own, derived of torch's: the statistics of a batch are those of a norm."""


class Deciding(Plain):
    """It gives scores in training, and decisions in evaluation: those have no gradient, and another type."""

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        return scores if self.training else scores > 0


class Detached(Plain):
    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        return scores if self.training else 2 * scores.detach()


def of(model: Any, **changes: Any) -> Recipe:
    made = Recipe(
        data=Splits(train=(X[:160], Y[:160]), validation=(X[160:], Y[160:])), model=model,
        objective=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=0.01), epochs=20, batch_size=20,
    )  # fmt: skip
    return made.but(**changes)


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (Turning, True), (Dropping, True), (Rarely, True), (lambda: nn.Sequential(Turning(), nn.Linear(2, 2)), True),
        (Plain, False), (lambda: Plain().net, False), (Failing, False), (Always, False), (Keeping, False),
        (lambda: nn.Sequential(nn.Linear(4, 2), Norm(2)), False), (Deciding, False),
    ],
)  # fmt: skip
def test_what_own_modules_do_in_training_alone_is_seen(model: Any, changes: bool) -> None:
    recipe = of(model)
    assert changes_in_training(recipe, (X[:9], Y[:9])) is changes
    assert (as_evaluated(recipe, (X[:9], Y[:9])) is not None) is changes
    assert [name for name, *_ in exchanged(recipe, (X[:9], Y[:9]), ())] == [AS_EVALUATED] * changes


def test_what_cannot_be_trained_as_it_is_evaluated_is_no_arm() -> None:
    recipe = of(Detached)
    assert changes_in_training(recipe, (X[:9], Y[:9]))
    assert as_evaluated(recipe, (X[:9], Y[:9])) is None


def test_what_is_looked_for_draws_from_no_stream() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    assert as_evaluated(of(Turning), (X[:9], Y[:9])) is not None
    assert torch.equal(torch.get_rng_state(), state)


def test_only_own_modules_are_set_to_evaluate() -> None:
    torch.manual_seed(0)
    model = InEvaluation(Turning()).train()
    norm, drop = model.model.net[1], model.model.net[3]
    assert (model.training, model.model.training, norm.training, drop.training) == (True, False, True, True)
    model.eval()
    assert not norm.training
    assert torch.equal(model(X), model.model(X))


def test_a_network_that_trains_well_without_it_is_wired_wrongly() -> None:
    recipe = of(Turning)
    lab = lay_out(recipe, torch.device("cpu"), Budget.of(20.0), lambda stage: None)
    floor = reference_floor(lab.judge, [lab.train, lab.validation], 0)
    assert isinstance(floor, Floor)
    lab.arm("as it is", recipe, [0], lab.train)
    told = explain_train_loss(lab, floor, None)
    assert told.ranked[0].cause is Cause.WIRING
    assert "what they do in training alone (if self.training) is at fault" in told.ranked[0].sentence
    assert told.mend is not None
    assert told.mend.startswith("Look at what your modules do where self.training is set")
