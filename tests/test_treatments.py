"""Remedies that act on what opaque factories build: each changes what it says it changes, and nothing else."""

import pickle
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from thalweg import Cause, Recipe, Splits
from thalweg.core.convert import as_source
from thalweg.core.randomness import Streams
from thalweg.diagnosis import Finding
from thalweg.diagnosis.finding import Ranked
from thalweg.diagnosis.flaw import Flaw
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.nn import cnn, mlp
from thalweg.remedy import Remedy, remedies_for
from thalweg.remedy.cleaning import balanced, constants, without_contradictions, without_doubted, without_shared
from thalweg.remedy.features import featured
from thalweg.remedy.fitting import (
    built,
    by_adam,
    clipped,
    cooled,
    grown,
    ranged,
    rebatched,
    standardized,
    steps_of,
    tuned,
    warmed,
)
from thalweg.remedy.layers import Linked, initialized, linked, normed
from thalweg.remedy.repairing import judged_rightly
from thalweg.remedy.restraining import decayed, dropped, masked, mixed_up, narrowed, smoothed, sparse
from thalweg.remedy.treatments import BY_FLAW, USUAL
from thalweg.training.judging import Judge

DRAW = torch.Generator().manual_seed(0)
X = 3 * torch.randn(160, 6, generator=DRAW) + 5
C = (X[:, 0] + X[:, 1] > 10).long()
Y = (2 * X[:, :1] - X[:, 1:2]) * 4
SPLIT = 120


class Net(nn.Module):
    """A network of one's own, with activations as modules and as functions."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.middle = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh())
        self.head = nn.Linear(16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.middle(F.relu(self.first(x))))
        return output


def recipe(x: Tensor = X, y: Tensor = C, **changes: Any) -> Recipe:
    made = Recipe(
        data=Splits(train=(x[:SPLIT], y[:SPLIT]), validation=(x[SPLIT:], y[SPLIT:])),
        model=lambda: Net(),
        objective=nn.CrossEntropyLoss(),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=3e-4),
        epochs=2,
    )
    return made.but(**changes)


def numbers(**changes: Any) -> Recipe:
    return recipe(X, Y, model=lambda: Net(1), objective=nn.MSELoss()).but(**changes)


def images(**changes: Any) -> Recipe:
    x = torch.randn(160, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return recipe(x, (x.mean((1, 2, 3)) > 0).long(), model=partial(convolving, 4), **changes)


def convolving(width: int) -> nn.Module:
    """A network of images of one's own, which keeps its size twice."""
    layers = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Conv2d(width, width, 3, padding="same"), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * width, 2))


def kinds(chosen: Recipe) -> list[str]:
    return [type(module).__name__ for module in chosen.model().modules() if not any(True for _ in module.children())]


def size(chosen: Recipe) -> int:
    return sum(weight.numel() for weight in chosen.model().parameters())


def losses(chosen: Recipe, judged: Recipe) -> float:
    """What the judge of one recipe says of the untrained model of another."""
    torch.manual_seed(0)
    x, y = chosen.data.validation
    source = as_source((x, y), "validation")
    return Judge.of(judged).scores(judged.model().eval(), source, torch.device("cpu"))["loss"]


EVERY = {name: change for treatments in (*BY_FLAW.values(), *USUAL.values()) for name, change in treatments}
LAYERS = ("norms between layers and activations", "residual links", "layers initialized for their activations")
RECIPES: dict[str, tuple[Callable[[], Recipe], tuple[str, ...]]] = {
    "classes": (recipe, tuple(EVERY)),
    "numbers": (numbers, ("without the activation behind the last layer", "targets standardized", "Huber's loss")),
    "images": (images, (*LAYERS, "half as wide", "4 x as wide", "mixtures of two examples (mixup)", "dropout")),
}


@pytest.mark.parametrize("of", RECIPES)
def test_a_remedy_leaves_streams_and_judge_alone_is_pickled_and_said(of: str) -> None:
    """And what it gives trains; a loss that was mended is the one exception, for it was what judged wrongly."""
    make, names = RECIPES[of]
    start = make()
    for name, change in ((name, EVERY[name]) for name in names):
        before = Streams.now()
        changed = pickle.loads(pickle.dumps(Remedy(name, Cause.DATA, change)))(start)
        after = Streams.now()
        assert torch.equal(before.cpu, after.cpu), name
        assert torch.equal(before.numpy[1], after.numpy[1]), name
        assert before.numpy[2] == after.numpy[2], name
        if changed is start:
            continue
        assert start.difference(changed), name
        assert not any("the same in words" in line for line in start.difference(changed)), name
        assert thalweg.train(changed.but(epochs=1)).status is thalweg.Outcome.FINISHED, name
        if name != "the other sign of the loss":
            own = start.but(judge=None, objective=changed.objective, model=start.model)
            assert losses(start, start) == pytest.approx(losses(start, own.but(judge=changed.judge))), name


def test_norms_stand_between_layers_and_activations() -> None:
    assert kinds(normed(recipe()))[:4] == ["Linear", "Linear", "BatchNorm1d", "Tanh"]  # functions are not seen
    assert kinds(normed(recipe(batch_size=4)))[1:3] == ["Linear", "LayerNorm"]
    assert kinds(normed(images())) == ["Conv2d", "BatchNorm2d", "ReLU"] * 3 + ["Flatten", "Linear"]
    assert kinds(normed(images(batch_size=4)))[1] == "GroupNorm"
    assert kinds(normed(recipe(model=partial(mlp, 6, 2))))[2] == "BatchNorm1d"
    there = normed(recipe())
    assert normed(there) is there


def test_a_network_whose_hidden_layers_take_no_norm_is_given_back() -> None:
    def unsampling() -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, (4, 1)), nn.ConvTranspose1d(4, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3)
        )

    x, y = torch.randn(20, 4), torch.arange(20) % 3
    start = Recipe(data=Splits(train=(x, y)), model=unsampling, objective=nn.CrossEntropyLoss())
    assert unsampling()(x).shape == (20, 3)
    assert normed(start) is start


def test_links_add_what_a_layer_reads() -> None:
    changed = linked(recipe())
    model = changed.model()
    links = [module for module in model.modules() if isinstance(module, Linked)]
    assert len(links) == 2
    z = torch.randn(3, 16)
    assert torch.equal(links[0](z), z + links[0].block(z))
    assert torch.allclose(model.middle(z), links[1](links[0](z)))
    assert size(changed) == size(recipe())
    assert len([each for each in linked(images()).model().modules() if isinstance(each, Linked)]) == 2
    alone = recipe(model=lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)))
    assert linked(alone) is alone  # one layer is no chain
    assert linked(recipe(model=partial(cnn, 1, 2))).model.keywords == {"residual": True}


@pytest.mark.parametrize(("activation", "deviation"), [(nn.ReLU, (2 / 200) ** 0.5), (nn.Tanh, 5 / 3 * 200**-0.5)])
def test_layers_begin_as_their_activation_asks(activation: Any, deviation: float) -> None:
    wide = recipe(
        torch.randn(160, 200, generator=DRAW),
        model=lambda: nn.Sequential(nn.Linear(200, 200), activation(), nn.Linear(200, 2)),
    )
    layer = initialized(wide).model()[0]
    assert layer.weight.std().item() == pytest.approx(deviation, rel=0.03)
    assert not layer.bias.any()


def test_a_rate_is_found_by_a_range_test_and_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    start = recipe(optimizer=partial(torch.optim.SGD, lr=1e-6))
    rate = built(ranged(start)).param_groups[0]["lr"]
    assert rate == pytest.approx(thalweg.find_learning_rate(start).suggestion, rel=0.01)
    other = built(tuned(start, normed)).param_groups[0]["lr"]
    assert other == pytest.approx(thalweg.find_learning_rate(normed(start)).suggestion, rel=0.01)
    monkeypatch.setattr("thalweg.remedy.fitting.find_learning_rate", None)
    assert built(ranged(start)).param_groups[0]["lr"] == rate
    assert built(tuned(start, normed)).param_groups[0]["lr"] == other
    own = recipe(loop=lambda model, optimizer, batches, objective: None)
    assert ranged(own) is own


def test_what_is_there_already_is_given_back() -> None:
    for change, start in {
        cooled: recipe(schedule=lambda step, steps: 1.0),
        clipped: recipe(clip_norm=3.0),
        by_adam: recipe(),
        smoothed: recipe(objective=nn.CrossEntropyLoss(label_smoothing=0.2)),
        sparse: sparse(recipe()),
        dropped: recipe(model=partial(mlp, 6, 2, dropout=0.5)),
        standardized: standardized(recipe()),
        warmed: warmed(recipe()),
        decayed: recipe(optimizer=partial(torch.optim.AdamW, lr=1e-3, weight_decay=1.0)),
    }.items():
        assert change(start) is start, change


def test_batches_become_larger_and_smaller() -> None:
    assert (rebatched(recipe(), 0.25).batch_size, rebatched(recipe(), 4.0).batch_size) == (8, 120)
    for own in (recipe(batch_size=4), recipe(batch_size=None)):
        assert rebatched(own, 0.25) is own
    loader = DataLoader(TensorDataset(X, C), batch_size=16, shuffle=True)
    brought = recipe(data=Splits(train=loader))
    assert rebatched(brought, 4.0) is brought


def test_standard_units_are_those_of_train() -> None:
    seen: list[Tensor] = []

    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            output: Tensor = self.layer(x)
            return output

    start = numbers(model=Looking)
    standardized(start).model()(X[:SPLIT])
    assert seen[-1].mean(0).abs().max() < 1e-5
    assert torch.allclose(seen[-1].std(0, correction=0), torch.ones(6), atol=1e-5)
    outputs = standardized(start, inputs=False, targets=True).model()(X[:SPLIT])
    assert (outputs - Y[:SPLIT].mean()).abs().max() < 60 * Y.std()
    plain = recipe((X - 5) / 3, C)
    assert standardized(plain) is plain


def test_products_are_features() -> None:
    changed = featured(numbers(model=lambda: nn.Linear(6, 1)))
    model = changed.model()
    assert model.model.in_features == 6 + 21
    x = (X - 5) / 3
    data = Splits(train=(x, x[:, :1] * x[:, 1:2]))
    run = thalweg.train(changed.but(data=data, epochs=40, optimizer=partial(torch.optim.Adam, lr=0.05)))
    assert F.mse_loss(run.model(x), data.train[1]) < 0.1 * data.train[1].var()  # of a linear model it is all
    many = recipe(torch.randn(160, 70), model=lambda: nn.Linear(70, 2))
    assert featured(many) is many
    assert featured(images()).model is not None
    assert featured(recipe(torch.randn(160, 20), model=lambda: nn.Linear(20, 2))).model().model.in_features == 40


def test_a_model_grows_and_shrinks() -> None:
    assert size(grown(recipe(), "wide")) > 4 * size(recipe())
    assert size(narrowed(recipe())) < size(recipe()) / 2
    assert narrowed(recipe()).model().head.out_features == 2
    assert size(narrowed(images())) < size(images()) / 2
    assert narrowed(recipe(model=partial(mlp, 6, 2, width=10))).model.keywords == {"width": 5}
    linear = recipe(model=lambda: nn.Linear(6, 2))
    assert narrowed(linear) is linear


def test_dropout_is_before_the_last_layer_or_more() -> None:
    assert kinds(dropped(recipe()))[-2:] == ["Dropout", "Linear"]
    assert dropped(recipe(model=partial(mlp, 6, 2))).model.keywords == {"dropout": 0.3}
    some = recipe(model=lambda: nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.1), nn.ReLU(), nn.Linear(8, 2)))
    assert dropped(some).model()[1].p == 0.5


def test_mixtures_are_of_examples_and_classes() -> None:
    changed = mixed_up(recipe())
    _, y = next(iter(changed.data.train.batches(1, 0, torch.Generator().manual_seed(0))))
    assert y.shape[1:] == (2,)
    assert torch.allclose(y.sum(1), torch.ones(len(y)))
    assert 0 < ((y > 0.01) & (y < 0.99)).any(1).float().mean() < 1
    for other in (numbers(), recipe(objective=nn.NLLLoss()), recipe(X.long(), model=lambda: nn.Embedding(50, 2))):
        assert mixed_up(other) is other


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(), F.cross_entropy, partial(F.cross_entropy), thalweg.loss.Categorical()]
)
def test_labels_are_smoothed_in_training_alone(loss: Any) -> None:
    start = recipe(objective=loss)
    changed = smoothed(start)
    z, y = torch.tensor([[3.0, 0.0]]), torch.tensor([0])
    assert changed.objective(z, y) == pytest.approx(F.cross_entropy(z, y, label_smoothing=0.1).item())
    assert start.objective(z, y) == pytest.approx(F.cross_entropy(z, y).item())
    assert losses(start, start) == losses(start, changed)


def test_a_decay_takes_as_long_as_the_run() -> None:
    changed = decayed(recipe(epochs=1000))
    group = built(changed).param_groups[0]
    assert steps_of(changed) == 4000
    assert group["lr"] * group["weight_decay"] * 4000 == pytest.approx(1, rel=0.1)


def test_inputs_that_tell_nothing_are_hidden() -> None:
    """Two columns decide, together alone: each by itself is worth nothing."""
    x = torch.randn(400, 6, generator=torch.Generator().manual_seed(2))
    y = (x[:, 0] * x[:, 3] > 0).long()
    data = Splits(train=(x, y))
    changed = masked(recipe(data=data))
    hidden = changed.model().hidden.tolist()
    assert {0, 3}.isdisjoint(hidden)
    assert len(hidden) >= 3
    other = x.clone()
    other[:, hidden] = 7.0
    model = changed.model().eval()
    assert torch.equal(model(x), model(other))
    x = x.clone()
    x[:, 5] = 2.0
    assert masked(recipe(data=Splits(train=(x, y))), constants).model().hidden.tolist() == [5]
    x[:, 5] = float("nan")
    assert masked(lost := recipe(data=Splits(train=(x, y))), constants) is lost
    assert masked(images()).model is not None


def test_train_examples_that_mislead_are_left_out() -> None:
    wrong = torch.arange(160)[(X[:, 0] + X[:, 1] - 10).abs() > 4][:10]
    y = C.clone()
    y[wrong] = 1 - y[wrong]
    start = recipe(X, y, data=Splits(train=(X, y), validation=(X[SPLIT:], y[SPLIT:])))
    left = without_doubted(start).data.train
    kept = {tuple(row) for row in left.data[0].tolist()}
    assert sum(tuple(row) in kept for row in X[wrong].tolist()) <= 2
    assert len(left) > 130
    assert len(without_shared(start).data.train) == SPLIT
    x = torch.cat([X, X[:3]])
    twice = recipe(data=Splits(train=(x, torch.cat([C, 1 - C[:3]]))))
    assert len(without_contradictions(twice).data.train) == 157
    for clean in (without_shared, without_contradictions):
        assert clean(same := recipe()) is same


def test_classes_are_weighed_alike_and_judged_as_before() -> None:
    y = torch.zeros(160, dtype=torch.int64)
    y[:15] = 1
    start = recipe(X, y)
    changed = balanced(start)
    assert changed.objective.weight.tolist() == pytest.approx([120 / 210, 4.0])
    assert start.objective.weight is None
    assert losses(start, start) == losses(start, changed)
    smooth = recipe(X, y, objective=nn.CrossEntropyLoss(label_smoothing=0.2))
    assert balanced(smooth).objective.label_smoothing == 0.2
    assert losses(smooth, smooth) == losses(smooth, balanced(smooth))
    one = recipe(X, y[:, None].float(), model=lambda: Net(1), objective=nn.BCEWithLogitsLoss())
    assert balanced(one).objective.pos_weight.item() == 7
    assert balanced(recipe(X, y, objective=thalweg.loss.Categorical())).objective.class_weights is not None
    assert balanced(even := recipe()) is even


def flawed(mechanism: str, cause: Cause = Cause.WIRING) -> Finding:
    flaw = Flaw(cause, Mechanism(mechanism), "It is seen", 1.0, "", "", "")
    return Finding(cause, "", flaws=(flaw,), ranked=(Ranked(cause, None, "It is seen (healthy: )"),), mend="Mend it.")


HALF = torch.arange(160) % 2
SOFTMAX = "softmax twice"


def ended(*ends: nn.Module, outputs: int = 2) -> Any:
    return lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, outputs), *ends)


class Soft(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).softmax(1)


def head_alone(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(list(parameters)[-2:], lr=1e-3)


def test_a_head_is_repaired() -> None:
    """In what the factory builds, and where it is a function in `forward` by what undoes it."""
    (bare, *_) = remedies_for(flawed(SOFTMAX))
    twice = recipe(model=ended(nn.Softmax(1)))
    torch.manual_seed(0)
    before = twice.model()
    torch.manual_seed(0)
    after = bare(twice).model()
    assert torch.allclose(after(X).softmax(1), before(X))
    written = bare(recipe(model=Soft)).model()
    assert torch.allclose(written(X).softmax(1), written.model(X), atol=1e-5)
    (logits, *_) = remedies_for(flawed("sigmoid twice"))
    assert kinds(logits(recipe(model=ended(nn.Sigmoid()))))[-1] == "Identity"
    (axis, *_) = remedies_for(flawed("softmax over the batch axis"))
    assert axis(recipe(model=ended(nn.Softmax(0)))).model()[-1].dim == 1
    (never, *_) = remedies_for(flawed("softmax never"))
    assert torch.allclose(never(recipe()).model()(X).exp().sum(1), torch.ones(160), atol=1e-5)


@pytest.mark.parametrize(
    ("mechanism", "broken"),
    [
        ("softmax twice", lambda: recipe(model=ended(nn.Softmax(1)))),
        ("softmax twice", lambda: recipe(model=Soft)),
        (
            "head without the targets in its range",
            lambda: numbers(model=ended(nn.Sigmoid(), outputs=1)),
        ),
        ("flipped sign", lambda: numbers(objective=lambda o, t: -F.mse_loss(o, t))),
        *(
            pytest.param(name, broken, marks=pytest.mark.battery)
            for name, broken in (
                ("broadcast in the loss", lambda: numbers(data=Splits(train=(X, Y[:, 0]), validation=(X, Y[:, 0])))),
                ("not in the optimizer", lambda: numbers(optimizer=head_alone)),
                ("batches of one class", lambda: recipe(data=in_order())),
            )
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_repaired_program_is_proved(mechanism: str, broken: Callable[[], Recipe]) -> None:
    start = broken().but(epochs=6, optimizer=partial(torch.optim.Adam, lr=0.01), seed=1)
    if mechanism == "not in the optimizer":
        start = start.but(optimizer=head_alone, epochs=12)
    if mechanism == "broadcast in the loss":
        start = start.but(epochs=15)
    (remedy, *_) = remedies_for(flawed(mechanism))
    proof = thalweg.prove(judged_rightly(start, remedy(start)), remedy)
    assert proof.helped, proof.sentence


def in_order() -> Splits:
    order = C.argsort()
    loader = DataLoader(TensorDataset(X[order], C[order]), batch_size=16, shuffle=False)
    return Splits(train=loader, validation=(X, C))


def test_repairs_that_take_long_to_prove() -> None:
    """What each does, without a proof: pairs that belong together, all parameters in the optimizer, a new order."""
    (paired, *_) = remedies_for(flawed("broadcast in the loss"))
    start = numbers(data=Splits(train=(X, Y[:, 0]), validation=(X, Y[:, 0])))
    assert paired(start).objective(Y, Y[:, 0]) == 0
    (whole, *_) = remedies_for(flawed("not in the optimizer"))
    changed = whole(numbers(optimizer=head_alone))
    held = built(changed).param_groups[0]["params"]
    assert len(held) == len(list(Net(1).parameters()))
    (order, *_) = remedies_for(flawed("batches of one class"))
    mixed = as_source(order(recipe(data=in_order())).data.train)
    first = next(iter(mixed.batches(1, 0, torch.Generator().manual_seed(0))))[1]
    assert first.unique().tolist() == [0, 1]
    assert len(mixed) == 160


def test_labels_and_sums_are_mended() -> None:
    (names, *_) = remedies_for(flawed("labels outside of [0, 1]"))
    labels = torch.where(HALF > 0, 2.0, -1.0)[:, None]
    start = recipe(X, labels, model=lambda: Net(1), objective=nn.BCEWithLogitsLoss())
    z = torch.randn(160, 1)
    expected = F.binary_cross_entropy_with_logits(z, HALF[:, None].float())
    assert names(start).objective(z, labels) == pytest.approx(expected.item())
    (mean, *_) = remedies_for(flawed("sum instead of mean"))
    for loss in (nn.MSELoss(reduction="sum"), partial(F.mse_loss, reduction="sum")):
        assert mean(numbers(objective=loss)).objective(z, 0 * z) == pytest.approx(z.square().mean().item())


def test_what_a_check_has_seen_is_treated_first() -> None:
    finding = flawed("oscillation", Cause.OPTIMIZATION)
    assert [remedy.name for remedy in remedies_for(finding)[:2]] == [
        "learning rate falling to 0 along a cosine",
        "batches 4 x as large",
    ]
    names = [remedy.name for remedy in remedies_for(finding)]
    assert len(set(names)) == len(names)
    other = finding.but(cause=Cause.MODEL_BIAS)
    assert remedies_for(other)[1].name == "4 x as wide"  # a flaw of another cause is not treated with it
    assert remedies_for(flawed("examples mix")) == ()  # for words alone


def test_a_saddle_is_escaped_from() -> None:
    """Where the training of a net that begins at zero stops, that is asked first."""
    start = numbers(model=at_zero)
    model = start.model()
    point = thalweg.critical_point(model, nn.MSELoss(), (X - X.mean(0), Y - Y.mean()))
    assert point.kind.name == "SADDLE"
    finding = Finding(Cause.OPTIMIZATION, "", stopped_at=point)
    remedy = remedies_for(finding)[0]
    assert remedy.name == "escaping from saddles"
    changed = remedy(start)
    assert type(built(changed)).__name__ == "Escaping"
    assert remedy(changed) is changed


def at_zero() -> nn.Module:
    net = nn.Sequential(nn.Linear(6, 3, bias=False), nn.Tanh(), nn.Linear(3, 1, bias=False))
    for weight in net.parameters():
        nn.init.zeros_(weight)
    return net
