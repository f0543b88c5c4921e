"""Loops of a user's own that are watched: each fault is told, and healthy ones of many kinds are not spoken of."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from trainings import Reader, Residual, conv, dense, digits, doubtful, words

import thalweg
from thalweg.diagnosis.watching import Watching

Change = Callable[..., Any]


def batches(images: bool = False, tokens: bool = False, size: int = 32) -> Any:
    x, y = words() if tokens else digits(images)
    order = torch.Generator().manual_seed(0)
    while True:
        for ids in torch.randperm(600, generator=order).split(size):
            yield x[ids], y[ids]


def loop(
    net: nn.Module,
    optimizer: Any = None,
    steps: int = 150,
    zero: bool = True,
    go: bool = True,
    twice: bool = False,
    mode: bool = True,
    every: int = 1,
    told: bool = True,
    around: Callable[[Tensor], Tensor] = lambda loss: loss,
    after: Callable[[int], None] = lambda step: None,
    **data: Any,
) -> Watching:
    torch.manual_seed(0)
    optimizer = optimizer or torch.optim.Adam(net.parameters(), lr=3e-3)
    drawn = batches(**data)
    net.train(mode)
    with thalweg.watch(net, optimizer) as w:
        for step in range(steps):
            if zero and step % every == 0:
                optimizer.zero_grad()
            x, y = next(drawn)
            loss = around(cross_entropy(net(x), y) / every)
            loss.backward()
            if go and (step + 1) % every == 0:
                optimizer.step()
                if twice:
                    optimizer.step()
            after(step)
            w.step(loss) if told else None
    return w


def found(w: Watching) -> set[str]:
    return {sign.mechanism for sign in w.findings}


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


MLP = partial(dense, 64, 64, 10)


class Logarithm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.log()


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu().detach())


def test_a_missing_zero_grad_is_told_with_its_mend() -> None:
    w = loop(seeded(MLP), zero=False)
    (sign,) = [sign for sign in w.findings if sign.mechanism == "missing zero_grad"]
    assert sign.number == 31  # the first 15 that can show it, then every eighth
    assert "optimizer.zero_grad()" in sign.mend
    assert not sign.proved
    assert "missing zero_grad. In 31 of 31 steps" in str(w)
    assert "None of this is proved" in str(w)
    assert json.loads(json.dumps(w.to_json()))["findings"][0]["proved"] is False


def test_faults_of_the_loop() -> None:
    assert found(loop(seeded(MLP), go=False)) == {"no step"}
    assert "step without a new gradient" in found(loop(seeded(MLP), twice=True))
    dropped = partial(dense, 64, 64, 64, 10, drop=0.3)
    assert found(loop(seeded(dropped), mode=False)) == {"trained in evaluation mode"}
    assert found(loop(seeded(dropped))) == set()
    assert found(loop(seeded(MLP), mode=False)) == set()


def test_weights_that_are_not_trained() -> None:
    net = seeded(MLP)
    w = loop(net, torch.optim.Adam(net[-1].parameters(), lr=3e-3))
    assert found(w) == {"parameters outside of the optimizer"}
    assert "'0.weight', '0.bias'" in str(w)
    assert found(loop(seeded(Detached))) == {"no gradient"}
    net = seeded(MLP)
    assert "learning rate of 0" in found(loop(net, torch.optim.SGD(net.parameters(), lr=0.0)))
    net = seeded(MLP).to(torch.bfloat16)
    w = loop(net, torch.optim.SGD(net.parameters(), lr=1e-7), around=lambda loss: loss, told=False, steps=0)
    with thalweg.watch(net, optimizer := torch.optim.SGD(net.parameters(), lr=1e-9)) as w:
        for (x, y), _ in zip(batches(), range(20), strict=False):
            optimizer.zero_grad()
            cross_entropy(net(x.bfloat16()).float(), y).backward()
            optimizer.step()
    assert "weights that do not move" in found(w)


def test_frozen_layers_are_meant() -> None:
    net = seeded(MLP)
    net[0].requires_grad_(False)
    assert found(loop(net, torch.optim.Adam(net[-1].parameters(), lr=3e-3))) == set()
    net = seeded(MLP)
    net[0].requires_grad_(False)
    assert found(loop(net, torch.optim.Adam(net.parameters(), lr=3e-3))) == set()


def test_the_first_layer_that_is_not_finite_is_named() -> None:
    net = nn.Sequential(nn.Linear(64, 32), Logarithm(), nn.Linear(32, 10))
    w = loop(net, steps=10)
    assert found(w) == {"loss not finite"}
    assert "first in '1' (Logarithm)" in str(w)
    w = loop(seeded(MLP), steps=20, around=lambda loss: loss * float("nan"))
    assert "comes from the loss itself" in str(w)


def filled(net: nn.Module, **values: float) -> nn.Module:
    with torch.no_grad():
        for name, value in values.items():
            for module in net.modules():
                if isinstance(module, nn.Linear):
                    getattr(module, name).fill_(value)
    return net


def test_what_the_layers_show() -> None:
    net = seeded(MLP)
    with torch.no_grad():
        net[0].bias.fill_(-30.0)
    assert "dead units" in found(loop(net))
    assert "symmetric units" in found(loop(filled(seeded(MLP), weight=0.01, bias=0.0)))
    net = seeded(partial(dense, 64, 64, 64, 10, act=nn.Tanh))
    with torch.no_grad():
        net[2].weight.mul_(300)
    assert "saturated units" in found(loop(net, torch.optim.SGD(net.parameters(), lr=1e-3)))
    assert "vanishing gradient" in found(loop(seeded(partial(dense, 64, *[32] * 8, 10, act=nn.Sigmoid))))
    net = seeded(partial(dense, 64, 64, 64, 64, 64, 10))
    with torch.no_grad():
        for weight in net.parameters():
            weight.normal_()
    assert "exploding signal" in found(loop(net))
    net = seeded(MLP)
    assert "learning rate too high" in found(loop(net, torch.optim.Adam(net.parameters(), lr=3.0)))


def test_the_course_of_the_loss() -> None:
    net = seeded(MLP)
    assert "plateau" in found(loop(net, torch.optim.SGD(net.parameters(), lr=1e-6), steps=250))
    net, (x, y) = seeded(partial(nn.Linear, 10, 2)), doubtful()
    with thalweg.watch(net, optimizer := torch.optim.SGD(net.parameters(), lr=12.0)) as w:
        for _ in range(100):
            optimizer.zero_grad()
            (loss := cross_entropy(net(x), y)).backward()
            optimizer.step()
            w.step(loss)
    assert found(w) & {"oscillation", "divergence"}
    net = seeded(MLP)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    dying = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.7)
    assert "learning rate dies too early" in found(loop(net, optimizer, after=lambda step: dying.step()))


HEALTHY: dict[str, dict[str, Any]] = {
    "mlp": {"make": MLP},
    "no losses": {"make": MLP, "told": False},
    "accumulated": {"make": MLP, "every": 4, "steps": 400},
    "residual": {"make": Residual},
    "dropout": {"make": partial(dense, 64, 128, 128, 10, drop=0.5)},
    "tanh": {"make": partial(dense, 64, 64, 64, 10, act=nn.Tanh)},
    "cnn": {"make": conv, "images": True},
    "batch norm": {"make": partial(conv, True), "images": True},
    "rnn": {"make": partial(Reader, "rnn"), "tokens": True},
    "lstm": {"make": partial(Reader, "lstm"), "tokens": True},
    "attention": {"make": partial(Reader, "attention"), "tokens": True},
    "bag": {"make": partial(Reader, "bag"), "tokens": True},
    "small batches": {"make": MLP, "size": 4, "steps": 300},
    "whole batch": {"make": MLP, "size": 600},
    "long": {"make": MLP, "steps": 1000},
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_loops_are_not_spoken_of(name: str) -> None:
    settings = dict(HEALTHY[name])
    w = loop(seeded(settings.pop("make")), **settings)
    assert w.findings == ()
    assert "nothing stands out" in str(w)


def test_two_optimizers_that_play_against_each_other() -> None:
    torch.manual_seed(0)
    maker, critic = dense(4, 32, 2), dense(2, 32, 1)
    first, second = (torch.optim.Adam(net.parameters(), lr=1e-3) for net in (maker, critic))
    bce = nn.functional.binary_cross_entropy_with_logits
    with (
        thalweg.watch(maker, first) as a, thalweg.watch(critic, second) as b,
        thalweg.watch(nn.ModuleList([maker, critic]), [first, second]) as c,
    ):  # fmt: skip
        for _ in range(100):
            real, made = torch.randn(64, 2) + 2, maker(torch.randn(64, 4))
            second.zero_grad()
            (bce(critic(real), torch.ones(64, 1)) + bce(critic(made.detach()), torch.zeros(64, 1))).backward()
            second.step()
            first.zero_grad()
            bce(critic(made), torch.ones(64, 1)).backward()
            first.step()
    assert [a.findings, b.findings, c.findings] == [(), (), ()]


def test_skipped_steps_and_closures_are_meant() -> None:
    net = seeded(MLP)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=50)
    with thalweg.watch(net, optimizer) as w:
        for (x, y), _ in zip(batches(), range(150), strict=False):
            optimizer.zero_grad()
            loss = 1000 * cross_entropy(net(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            w.step(loss)
    assert w.record.steps < 150
    assert w.findings == ()
    net = seeded(MLP)
    newton = torch.optim.LBFGS(net.parameters(), max_iter=4)
    x, y = digits()

    def closure() -> Tensor:
        newton.zero_grad()
        loss = cross_entropy(net(x), y)
        loss.backward()
        return loss

    with thalweg.watch(net, newton) as w:
        for _ in range(10):
            w.step(newton.step(closure))
    assert w.findings == ()


def test_the_loop_is_left_as_it_is() -> None:
    weights = []
    for watched in (False, True):
        net = seeded(partial(conv, True))
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        drawn = batches(images=True)
        w = thalweg.watch(net, optimizer)
        if watched:
            w.__enter__()
        for _ in range(30):
            x, y = next(drawn)
            optimizer.zero_grad()
            cross_entropy(net(x), y).backward()
            optimizer.step()
        w.__exit__(None, None, None)
        weights.append([*net.parameters(), *net.buffers()])
        hooks = [m._forward_hooks or m._forward_pre_hooks for m in net.modules()]
        assert not any(hooks)
        assert not any(p._backward_hooks for p in net.parameters())
        assert not optimizer._optimizer_step_pre_hooks
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_hooks_go_when_the_loop_fails() -> None:
    net = seeded(MLP)
    with pytest.raises(ZeroDivisionError), thalweg.watch(net, torch.optim.SGD(net.parameters(), lr=0.1)):
        raise ZeroDivisionError
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_wrong_arguments_are_refused_with_a_mend() -> None:
    net, other = MLP(), MLP()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(thalweg.RecipeError, match="watch was given dict, but it watches a torch.nn.Module"):
        thalweg.watch(net.state_dict() and {}, optimizer)
    with pytest.raises(thalweg.RecipeError, match="NoneType as an optimizer"):
        thalweg.watch(net, None)
    with pytest.raises(thalweg.RecipeError, match="NoneType as an optimizer"):
        thalweg.watch(net, [])
    with pytest.raises(thalweg.RecipeError, match="holds none of the model's parameters"):
        thalweg.watch(other, optimizer)
    with thalweg.watch(net, optimizer) as w:
        with pytest.raises(thalweg.RecipeError, match="being watched already"):
            w.__enter__()
        with pytest.raises(thalweg.RecipeError, match="a tensor of shape \\(3,\\), but a loss is one number"):
            w.step(torch.ones(3))
        assert w.findings == ()
        w.step()


def test_a_loop_outside_of_the_block_is_not_called_good() -> None:
    net = MLP()
    optimizer = torch.optim.Adam(net.parameters())
    with thalweg.watch(net, optimizer) as w:
        pass
    assert str(w).startswith("No step of the optimizer was seen")


def test_losses_of_numpy_are_numbers_and_complex_ones_are_none() -> None:
    net = MLP()
    with thalweg.watch(net, torch.optim.Adam(net.parameters())) as w:
        w.step(np.float32(0.5))
        with pytest.raises(thalweg.RecipeError, match="a loss is one number"):
            w.step(torch.tensor([1j]))
    assert w.to_json()["losses"] == [0.5]


def test_lazy_layers_are_refused_until_they_have_weights() -> None:
    net = nn.Sequential(nn.LazyLinear(3))
    optimizer = torch.optim.Adam(net.parameters())
    with pytest.raises(thalweg.RecipeError, match="call it once on a batch before"):
        thalweg.watch(net, optimizer)
    net(torch.ones(2, 5))
    assert thalweg.watch(net, optimizer).findings == ()


def test_of_a_loss_alone_that_is_not_finite_no_layer_is_cleared() -> None:
    net = MLP()
    with thalweg.watch(net, torch.optim.Adam(net.parameters())) as w:
        w.step(float("nan"))
    (sign,) = w.findings
    assert sign.says == "At step 1 the gradient or the loss is not finite"
