"""The quick call of torch's fused step: to the bit what the optimizer's own step does, whatever happens to it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thalweg.training.factories import bare_step, build_optimizer


def nets() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    return net, copy.deepcopy(net)


def set_rate(optimizer: Any) -> None:
    optimizer.param_groups[0]["lr"] = 0.3


def reload(optimizer: Any) -> None:
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def replace_moment(optimizer: Any) -> None:
    weight = optimizer.param_groups[0]["params"][0]
    optimizer.state[weight]["exp_avg"] = torch.ones_like(weight)


def add_group(optimizer: Any) -> None:
    free = nn.Parameter(torch.ones(3))
    free.grad = torch.ones(3)
    optimizer.add_param_group({"params": [free]})


def freeze(optimizer: Any) -> None:
    optimizer.param_groups[0]["params"][1].requires_grad_(False)


def amsgrad(optimizer: Any) -> None:
    for state in optimizer.state.values():
        state["max_exp_avg_sq"] = torch.zeros_like(state["exp_avg_sq"])
    optimizer.param_groups[0]["amsgrad"] = True


def nothing(optimizer: Any) -> None:
    pass


@pytest.mark.parametrize("change", [nothing, set_rate, reload, replace_moment, add_group, freeze, amsgrad])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_it_is_the_optimizers_own_step(kind: Callable[..., Any], change: Callable[[Any], None]) -> None:
    x = torch.randn(7, 4)
    ended: list[list[Tensor]] = []
    for net, quick in zip(nets(), (True, False), strict=True):
        optimizer = build_optimizer(lambda parameters: kind(parameters, lr=0.1, weight_decay=0.1), net)
        step = bare_step(optimizer) if quick else optimizer.step
        for number in range(9):
            if number == 5:
                change(optimizer)
            optimizer.zero_grad()
            if net.get_parameter("0.weight").requires_grad or number < 5:
                net(x).square().sum().backward()
            step()
        ended.append([value for state in optimizer.state.values() for value in state.values()] + list(net.parameters()))
    assert len(ended[0]) == len(ended[1])
    assert all(torch.equal(one, other) for one, other in zip(*ended, strict=True))


def test_a_hook_that_comes_later_is_called() -> None:
    net, _ = nets()
    optimizer = build_optimizer(torch.optim.Adam, net)
    step, seen = bare_step(optimizer), []
    for number in range(4):
        if number == 2:
            optimizer.register_step_post_hook(lambda *given: seen.append(1))
        net(torch.ones(1, 4)).sum().backward()
        step()
    assert len(seen) == 2
