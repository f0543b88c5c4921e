"""Further arms: what speaks for each, what they leave to others, and what they change."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR

from thalweg import Recipe, Splits
from thalweg.diagnosis.arms import (
    ADAM,
    EVENED,
    EVENED_ADAM,
    at_rate,
    better_trained,
    for_inputs_and_depth,
    is_usual_adam,
    with_fewer_layers,
)  # fmt: skip
from thalweg.diagnosis.budget import Budget
from thalweg.diagnosis.further_arms import (
    BEGUN,
    CLIPPED,
    MOMENTUM,
    NORMED,
    REMEMBERING,
    RESERVE,
    WARMED,
    WARMED_HIGHER,
    Tried,
    WarmedUp,
    further_arms,
    warmed_up,
)  # fmt: skip
from thalweg.diagnosis.growth import reinitialized
from thalweg.diagnosis.laboratory import CONTROL, Laboratory, first_batch, lay_out
from thalweg.diagnosis.remembering import remembering
from thalweg.nn import mlp

DRAWN = torch.Generator().manual_seed(0)
X = torch.randn(40, 6, generator=DRAWN)
Y = X.sum(1, keepdim=True)


def deep(count: int = 6) -> nn.Module:
    return nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(count)), nn.Linear(6, 1))


def shallow() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))


def lab_of(model: Any, budget: float = 30.0, **changes: Any) -> Laboratory:
    recipe = Recipe(
        data=Splits(train=(X, Y), validation=(X + 0.1, Y)), model=model, objective=nn.MSELoss(),
        optimizer=partial(torch.optim.SGD, lr=0.01), epochs=2,
    )  # fmt: skip
    return lay_out(recipe.but(**changes), torch.device("cpu"), Budget.of(budget), lambda stage: None)


def names(lab: Laboratory, *, too_high: bool = False, adam_helped: bool = False, rate: str = "") -> list[str]:
    control = lab.arm(CONTROL, lab.recipe, [lab.recipe.seed], lab.train)
    tried = Tried(rate, lab.recipe, at_rate(lab.recipe, 3.0), too_high, adam_helped)
    return [name for name, _ in further_arms(lab, control, first_batch(lab.train), tried)]


def test_a_deep_network_is_asked_about_its_depth_and_its_beginning() -> None:
    assert names(lab_of(deep)) == [BEGUN, NORMED]
    assert names(lab_of(deep), rate="learning rate x 10")[0] == f"{BEGUN}, learning rate x 10"
    assert names(lab_of(deep), too_high=True) == [WARMED, WARMED_HIGHER, BEGUN, NORMED]
    batch = first_batch(lab_of(deep).train)
    parts = {name: len(part.model()) for name, part in with_fewer_layers(lab_of(partial(deep, 8)).recipe, batch)}
    assert parts == {"half as deep": 5, "a quarter as deep": 3}  # the head is beside them
    assert not list(with_fewer_layers(lab_of(shallow).recipe, batch))


def test_a_shallow_one_only_about_what_its_run_shows() -> None:
    adam = partial(torch.optim.Adam, lr=0.01)
    assert names(lab_of(shallow)) == names(lab_of(shallow), too_high=True) == []
    assert names(lab_of(shallow, optimizer=adam)) == [MOMENTUM]
    assert names(lab_of(shallow, optimizer=adam), adam_helped=True) == []
    assert names(lab_of(shallow, optimizer=partial(torch.optim.SGD, lr=1e9))) == [WARMED, WARMED_HIGHER]


class Recurrent(nn.Module):
    """The last state of a recurrent layer that begins with hardly any memory, over six steps."""

    def __init__(self, kind: Any = nn.LSTM, width: int = 16, **settings: Any) -> None:
        super().__init__()
        self.layer, self.head = kind(1, width, batch_first=True, **settings), nn.Linear(width, 1)
        nn.init.constant_(self.layer.weight_hh_l0, 1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read: torch.Tensor = self.head(self.layer(x[..., None])[0][:, -1])
        return read


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_recurrent_network_is_asked_about_its_memory(kind: Any) -> None:
    lab = lab_of(partial(Recurrent, kind))
    assert names(lab, rate="learning rate x 10") == [f"{REMEMBERING}, learning rate x 10"]
    changed = remembering(lab.recipe, first_batch(lab.train))
    assert changed is not None
    layer = changed.model().layer
    gates = layer.weight_hh_l0.detach().split(16)
    assert all(torch.allclose(gate @ gate.T, torch.eye(16), atol=1e-5) for gate in gates)
    bias = dict(zip("ifgo" if kind is nn.LSTM else "rzn", layer.bias_ih_l0.detach().split(16), strict=False))
    kept = bias["f" if kind is nn.LSTM else "z"] if kind is not nn.RNN else torch.zeros(1)
    assert (kept >= 0).all()
    assert (kept <= torch.tensor(5.0).log()).all()  # six steps
    assert kind is nn.RNN or kept.max() > 1
    assert kind is not nn.LSTM or torch.equal(bias["i"], -kept)
    assert repr(changed.model).endswith("its recurrence begun to remember")


class Derived(nn.LSTM):
    """A layer of the user's own, which is begun with a scale, and is given its input by name."""

    def reset_parameters(self, scale: float | None = None) -> None:
        for own in self.parameters():
            nn.init.uniform_(own, -(scale or 0.1), scale or 0.1)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return super().forward(*inputs, **named)


class Reading(Recurrent):
    """Both directions of two layers, packed."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x[..., None], torch.full((len(x),), 5), batch_first=True)
        read: torch.Tensor = self.head(self.layer(input=packed)[1][0][-1])
        return read


def test_the_memory_of_every_layer_and_direction_is_as_long_as_what_it_is_given() -> None:
    model = partial(Reading, Derived, num_layers=2, bidirectional=True)
    changed = remembering((lab := lab_of(model)).recipe, first_batch(lab.train))
    assert changed is not None
    assert changed.model.names == (("layer", 5),)
    made = changed.model().layer
    biases = [own for name, own in made.named_parameters() if name.startswith("bias_ih")]
    assert len(biases) == 4
    assert all(torch.equal(own[:16], -own[16:32]) and bool((own[16:32] > 0).any()) for own in biases)


class Lazy(Recurrent):
    """Its head is built at its first pass."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.head = nn.LazyLinear(1)


def test_a_projected_layer_has_no_square_recurrence_and_a_lazy_network_has_one() -> None:
    batch = (X, Y)
    assert remembering(lab_of(Lazy).recipe, batch) is not None
    assert remembering(lab_of(partial(Lazy, proj_size=8)).recipe, batch) is None


def test_a_recurrence_of_rectified_units_begins_as_the_identity() -> None:
    changed = remembering(
        (lab := lab_of(partial(Recurrent, nn.RNN, nonlinearity="relu"))).recipe, first_batch(lab.train)
    )
    assert changed is not None
    assert torch.equal(changed.model().layer.weight_hh_l0.detach(), torch.eye(16))


def test_networks_of_others_are_begun_anew_whatever_knobs_they_have() -> None:
    """A layer more of its recurrence begins as torch does: the same size has to begin so too, before size is blamed."""
    lab = lab_of(Recurrent)
    anew = reinitialized(lab.recipe, first_batch(lab.train))
    assert anew is not None
    assert float(anew.model().layer.weight_hh_l0.detach().std()) > 0.1
    ours = lab_of(partial(partial(mlp, 6), 1, width=8, depth=2)).recipe
    assert reinitialized(ours, first_batch(lab.train)) is None
    theirs = lab_of(lambda width=8, depth=2: mlp(6, 1, width=width, depth=depth)).recipe
    assert reinitialized(theirs, first_batch(lab.train)) is not None


def test_unlike_inputs_are_standardized_for_a_rate_that_does_not_depend_on_their_units() -> None:
    """The largest rate that is stable for a column of thousands is far too small for standardized ones."""
    x = X * torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1000.0])
    data = Splits(train=(x, Y), validation=(x + 0.1, Y))
    lab = lab_of(shallow, budget=60.0, data=data, epochs=40, optimizer=partial(torch.optim.SGD, lr=1e-7))
    control = lab.arm(CONTROL, lab.recipe, [0], lab.train)
    arms = dict(better_trained(lab, control))
    even = next(name for name in arms if name.startswith(EVENED) and name != EVENED_ADAM)
    fitted, alone = (lab.arm(name, arms[name], [0], lab.train).score.value for name in (EVENED_ADAM, even))
    assert fitted < 0.95 * alone
    usual = lab.recipe.but(optimizer=torch.optim.Adam)
    lab = lay_out(usual, torch.device("cpu"), Budget.of(60.0), lambda stage: None)
    assert EVENED_ADAM not in dict(better_trained(lab, lab.arm(CONTROL, usual, [0], lab.train)))


def test_unlike_inputs_with_adam_are_no_second_arm_of_the_same_and_have_the_recipes_own_schedule() -> None:
    x = X * torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1000.0])
    data = Splits(train=(x, Y), validation=(x + 0.1, Y))
    low = lab_of(shallow, data=data, optimizer=partial(torch.optim.Adam, lr=1e-4))
    arms = dict(for_inputs_and_depth(low, "learning rate x 10", at_rate(low.recipe, 10.0)))
    assert list(arms) == [f"{EVENED}, learning rate x 10"]
    own = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=1e-3, total_steps=10)
    cycled = lab_of(shallow, data=data, schedule=own)
    arms = dict(for_inputs_and_depth(cycled, "learning rate x 10", at_rate(cycled.recipe, 10.0)))
    assert list(arms) == [f"{EVENED}, learning rate x 10", EVENED_ADAM]
    assert arms[EVENED_ADAM].schedule is own


def test_what_follows_half_decades_has_the_best_of_their_rates() -> None:
    lab = lab_of(shallow, budget=60.0, epochs=4, optimizer=partial(torch.optim.SGD, lr=0.04))
    control = lab.arm(CONTROL, lab.recipe, [lab.recipe.seed], lab.train)
    losses = {name: lab.arm(name, recipe, [0], lab.train).score.value for name, recipe in better_trained(lab, control)}
    rates = [name for name in losses if name.startswith("learning rate x ")]
    best = min(rates, key=losses.__getitem__)
    assert best in ("learning rate x 3.16", "learning rate x 0.316", "learning rate x 31.6")  # no whole decade
    assert f"trained 3 x as long, {best}" in losses


def bursting(step: int, steps: int | None) -> float:
    return 200.0 if step == 12 else 1.0


def test_a_gradient_that_bursts_is_clipped_and_one_that_falls_is_not() -> None:
    assert names(lab_of(shallow, epochs=10, schedule=bursting, batch_size=20)) == [CLIPPED]
    assert names(lab_of(shallow, epochs=10, schedule=bursting, batch_size=20, clip_norm=1.0)) == []
    assert names(lab_of(shallow, epochs=30, optimizer=partial(torch.optim.SGD, lr=0.1))) == []


def test_enough_is_left_for_bigger_siblings() -> None:
    assert names(lab_of(deep, budget=RESERVE + 1.5)) == []
    assert names(lab_of(deep, budget=RESERVE + 2.5)) == [BEGUN, NORMED]  # none of them was trained


def test_a_warm_up_is_put_before_a_function_and_not_before_a_scheduler() -> None:
    def falling(step: int, steps: int | None) -> float:
        return 1 - step / (steps or 1)

    recipe = lab_of(shallow).recipe
    warmed = warmed_up(recipe.but(schedule=falling))
    assert warmed is not None
    assert [warmed.schedule(step, 40) for step in (0, 1, 3, 20)] == pytest.approx([0.25, 0.5 * 39 / 40, 37 / 40, 0.5])
    assert warmed_up(recipe.but(schedule=partial(StepLR, step_size=1))) is None
    assert repr(WarmedUp()) == "warm-up"


@pytest.mark.parametrize(
    ("optimizer", "usual"),
    [
        (partial(torch.optim.Adam, lr=1e-3), True),
        (partial(torch.optim.Adam, lr=1e-3, weight_decay=0.1), True),
        (torch.optim.AdamW, True),
        (partial(torch.optim.Adam, lr=2e-3), False),
        (partial(torch.optim.Adam, lr=1e-3, eps=0.1), False),
        (partial(torch.optim.SGD, lr=1e-3), False),
        (lambda parameters: torch.optim.Adam([{"params": [each]} for each in parameters], lr=1e-3), False),
    ],
)
def test_adam_at_its_usual_rate_is_not_tried_where_the_recipe_has_it(optimizer: Any, usual: bool) -> None:
    assert is_usual_adam(lab_of(shallow, optimizer=optimizer).recipe) == usual


@pytest.mark.parametrize(("rate", "asked"), [(1e-4, False), (1e-5, False), (2e-3, True)])
def test_adam_at_its_usual_rate_is_not_asked_where_the_sweep_has_trained_it(rate: float, asked: bool) -> None:
    lab = lab_of(shallow, optimizer=partial(torch.optim.Adam, lr=rate))
    names = []
    for name, recipe in better_trained(lab, lab.arm(CONTROL, lab.recipe, [lab.recipe.seed], lab.train)):
        lab.arm(name, recipe, [lab.recipe.seed], lab.train)
        names.append(name)
    assert (ADAM in names) is asked
    assert len(names) == len(set(names))
