"""Faults of wiring around the model: the loop, the optimizer, the schedule, the modes, the order of the data."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from diagnosis_cases import nets, sequences, tables
from diagnosis_cases.case import planted
from diagnosis_cases.setups import (
    ADAM,
    CLASSES,
    SGD,
    adding_gru,
    bars_cnn,
    cancer_batch_norm,
    digits_cnn,
    digits_cnn_batch_norm,
    digits_loader,
    digits_loop,
    digits_sgd,
    forecast_lstm,
    friedman_mlp,
    friedman_sgd,
    groups_mlp,
    lookup_attention,
    plain_loop,
    recipe,
    waves_cnn,
)
from thalweg import Recipe, Splits
from thalweg.diagnosis import Cause

WIRING = Cause.WIRING
Loss = Callable[..., Any]


@planted(WIRING, digits_loop)
def zero_grad_is_missing() -> Recipe:
    """The loop never clears the gradients, which add up."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Loss) -> None:
        for x, y in batches:
            objective(model(x), y).backward()
            optimizer.step()

    return digits_loop().but(loop=loop)


@planted(WIRING, adding_gru, repaired=lambda: adding_gru().but(loop=plain_loop))
def zero_grad_is_missing_for_a_gru() -> Recipe:
    """The loop of a GRU under Adam never clears the gradients."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Loss) -> None:
        for x, y in batches:
            loss = objective(model(x), y)
            loss.backward()
            optimizer.step()

    return adding_gru().but(loop=loop)


@planted(WIRING, digits_loop)
def step_is_missing() -> Recipe:
    """The loop never takes a step."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Loss) -> None:
        for x, y in batches:
            optimizer.zero_grad()
            objective(model(x), y).backward()

    return digits_loop().but(loop=loop)


@planted(WIRING, groups_mlp, repaired=lambda: groups_mlp().but(loop=plain_loop))
def cleared_between_backward_and_step() -> Recipe:
    """The gradients are cleared after backward and before the step."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Loss) -> None:
        for x, y in batches:
            objective(model(x), y).backward()
            optimizer.zero_grad(set_to_none=False)
            optimizer.step()

    return groups_mlp().but(loop=loop)


@planted(WIRING, lookup_attention, repaired=lambda: lookup_attention().but(loop=plain_loop))
def the_loop_returns_after_one_batch() -> Recipe:
    """A return that is indented too far ends the epoch after its first batch."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Loss) -> None:
        for x, y in batches:
            optimizer.zero_grad()
            objective(model(x), y).backward()
            optimizer.step()
            return

    return lookup_attention().but(loop=loop)


@planted(WIRING, forecast_lstm, repaired=lambda: forecast_lstm().but(loop=plain_loop))
def stepped_only_after_the_epoch() -> Recipe:
    """The step stands outside of the loop over batches: one step an epoch, with the gradient of the last batch."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Loss) -> None:
        for x, y in batches:
            optimizer.zero_grad()
            objective(model(x), y).backward()
        optimizer.step()

    return forecast_lstm().but(loop=loop)


@planted(WIRING, cancer_batch_norm)
def eval_mode_in_the_training_loop() -> Recipe:
    """model.eval() in the training loop: batch norm never sees what it is to normalize."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Loss) -> None:
        model.eval()
        for x, y in batches:
            optimizer.zero_grad()
            objective(model(x), y).backward()
            optimizer.step()

    return cancer_batch_norm().but(loop=loop)


@planted(WIRING, cancer_batch_norm)
def batch_norm_with_momentum_zero() -> Recipe:
    """BatchNorm1d(momentum=0): its running statistics stay where they began."""

    def net() -> nn.Module:
        return nn.Sequential(nn.BatchNorm1d(30, momentum=0.0), nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 2))

    return cancer_batch_norm().but(model=net)


@planted(WIRING, digits_cnn_batch_norm)
def batch_norm_of_images_with_momentum_zero() -> Recipe:
    """BatchNorm2d(momentum=0) behind both layers of filters."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12, momentum=0.0), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24, momentum=0.0), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(96, 10),
        )  # fmt: skip

    return digits_cnn_batch_norm().but(model=net)


@planted(WIRING, digits_sgd)
def a_schedule_meant_for_epochs() -> Recipe:
    """A decay by 0.9 an epoch that is applied at every step."""
    return digits_sgd().but(schedule=lambda step, steps: 0.9**step)


@planted(WIRING, waves_cnn, repaired=lambda: waves_cnn().but(loop=plain_loop))
def a_schedule_stepped_for_every_batch() -> Recipe:
    """The loop lowers the rate after every batch where every epoch was meant."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Loss) -> None:
        for x, y in batches:
            optimizer.zero_grad()
            objective(model(x), y).backward()
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] *= 0.8

    return waves_cnn().but(loop=loop)


@planted(WIRING, adding_gru, repaired=lambda: of_a_scale(with_head=True))
def the_optimizer_misses_the_head() -> Recipe:
    """The optimizer was given the GRU alone: a head of small random weights cannot reach targets of a scale of ten."""
    return of_a_scale(with_head=False)


def of_a_scale(with_head: bool) -> Recipe:
    """The adding of numbers up to ten, by a GRU whose head is trained or not."""
    parts = sequences.adding(scale=10.0)
    given = (lambda p: ADAM(p, lr=1e-2)) if with_head else (lambda p: ADAM(list(p)[:-2], lr=1e-2))
    net = partial(nets.Recurrent, nn.GRU, 2, 32, 1)
    return recipe(parts, net, nn.MSELoss(), optimizer=given, epochs=30)


@planted(WIRING, friedman_mlp)
def the_optimizer_misses_the_body() -> Recipe:
    """Only the last layer was given to the optimizer, as when a network is fine-tuned that was never trained."""
    return friedman_mlp().but(optimizer=lambda parameters: ADAM(list(parameters)[-2:], lr=3e-3))


@planted(WIRING, bars_cnn)
def filters_left_frozen() -> Recipe:
    """requires_grad_(False) was left on the filters, which were never trained."""

    def net() -> nn.Module:
        filters = nn.Sequential(nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten())
        filters.requires_grad_(False)
        return nn.Sequential(filters, nn.Linear(12, 3))

    return bars_cnn().but(model=net)


@planted(WIRING, friedman_sgd)
def summed_loss_at_a_rate_for_means() -> Recipe:
    """reduction="sum" at the rate of a mean: steps 32 times as long."""
    return friedman_sgd().but(objective=nn.MSELoss(reduction="sum"), judge=nn.MSELoss())


@planted(WIRING, groups_mlp, also=(Cause.DATA,))
def inputs_and_labels_shuffled_apart() -> Recipe:
    """The training inputs were shuffled and their labels were not."""
    (x, y), validation, test = tables.scaled(*tables.groups())
    shuffled = np.random.default_rng(0).permutation(len(x))
    return groups_mlp().but(data=tables.as_splits((x[shuffled], y), validation, test))


@planted(WIRING, digits_cnn, also=(Cause.DATA,))
def labels_sorted_apart_from_images() -> Recipe:
    """The labels come sorted by name of file and the images do not."""
    (x, y), validation, test = tables.digits(image=True)
    return digits_cnn().but(data=tables.as_splits((x, np.sort(y)), validation, test))


@planted(WIRING, digits_loader)
def sorted_examples_in_order() -> Recipe:
    """A DataLoader without shuffle over examples that are sorted by class."""
    (x, y), validation, test = tables.digits()
    order = np.argsort(y, kind="stable")
    sets = [TensorDataset(*tables.tensors(*part)) for part in ((x[order], y[order]), validation, test)]
    return Recipe(
        data=Splits(
            train=DataLoader(sets[0], batch_size=32),
            validation=DataLoader(sets[1], batch_size=64),
            test=DataLoader(sets[2], batch_size=64),
        ),
        model=lambda: nets.mlp(64, 64, 10),
        objective=CLASSES,
        optimizer=partial(SGD, lr=0.1, momentum=0.9),
        epochs=15,
    )


@planted(WIRING, groups_mlp)
def a_step_uphill() -> Recipe:
    """The gradient ascends: the rate has the wrong sign in an optimizer that was written by hand."""

    class Ascent(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for weight in group["params"]:
                    if weight.grad is not None:
                        weight.grad.neg_()
            return super().step(closure)

    return groups_mlp().but(optimizer=lambda parameters: Ascent(parameters, lr=0.01))
