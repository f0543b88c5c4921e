"""AutoTrainer's and DeepDiagnosis's rules restated, on a training that torch hooks watch.

AutoTrainer (Zhang et al., ICSE 2021) looks every three epochs at the gradients, and at the accuracies when training
has ended; it knows classification alone. DeepDiagnosis (Wardat et al., ICSE 2022) stops at the first symptom. The
thresholds are those of their programs. Where these leave something open: |g| is the length of a layer's gradient in the
last batch of an epoch, a swing of the accuracy an epoch in which it falls, unchanged is unchanged to a relative 1e-5.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, isfinite
from typing import Any

import numpy as np
import torch
from diagnosis_certify import split_of, wrong
from torch import Tensor, nn
from torch.utils.data import DataLoader, SequentialSampler

import thalweg

EVERY = 3
CLASSIFICATION = ("binary", "multi-class")


@dataclass
class Epoch:
    """What is seen of an epoch; lists have an entry for each layer with a matrix of weights, the first one first."""

    loss: float = 0.0
    accuracy: float | None = None
    validation_accuracy: float | None = None
    gradients: list[float] = field(default_factory=list)
    mean_gradients: list[float] = field(default_factory=list)
    zeros: float = 0.0
    update_ratios: list[float] = field(default_factory=list)
    variances: list[float] = field(default_factory=list)
    silent: list[float] = field(default_factory=list)
    saturated: list[float] = field(default_factory=list)


@dataclass
class History:
    """A training as the rules see it: its epochs, and the inputs' mean size and range (None for tokens)."""

    epochs: list[Epoch]
    inputs: tuple[float, float, float] | None
    relu: bool = True


def auto_trainer(history: History, task: str) -> str | None:
    """The first symptom of AutoTrainer; "n/a" where the task is no classification."""
    if task not in CLASSIFICATION:
        return "n/a"
    if history.inputs is not None and history.inputs[0] >= 10:
        return "improper data"
    for number, epoch in enumerate(history.epochs, start=1):
        if number % EVERY and number < len(history.epochs) and isfinite(epoch.loss):
            continue
        first, last = (epoch.gradients[0], epoch.gradients[-1]) if epoch.gradients else (1.0, 1.0)
        ratio = first / last if last else (1.0 if first == 0 else inf)
        if not isfinite(epoch.loss) or epoch.loss >= 1e3 or not np.isfinite(epoch.gradients).all() or ratio > 70:
            return "exploding gradient"
        if ratio < 1e-3 and first < 1e-4:
            return "vanishing gradient"
        if history.relu and epoch.zeros >= 0.7:
            return "dying ReLU"
    return _accuracies(history.epochs)


def _accuracies(epochs: list[Epoch]) -> str | None:
    seen = [epoch.accuracy or 0.0 for epoch in epochs]
    steps = [after - before for before, after in pairwise(seen)]
    if steps and sum(step <= -0.03 for step in steps) >= 0.2 * len(epochs):
        return "oscillating loss"
    best = max([*seen, *(epoch.validation_accuracy or 0.0 for epoch in epochs)])
    if best < 0.6:
        return "not converged"
    if steps and max(steps) < 0.01:
        return "slow convergence"
    return None


def deep_diagnosis(history: History, task: str) -> str | None:
    """The first symptom of DeepDiagnosis."""
    if history.inputs is not None and (history.inputs[1] < -1 or history.inputs[2] > 1):
        return "inputs out of range"
    for number, epoch in enumerate(history.epochs, start=1):
        if (symptom := _symptom(epoch)) is not None:
            return symptom
        losses = [each.loss for each in history.epochs[max(0, number - 5) : number]]
        if len(losses) == 5 and np.allclose(losses, losses[0], rtol=1e-5, atol=0):
            return "loss not changing"
        last = history.epochs[max(0, number - 20) : number]
        said = [each.accuracy for each in last if each.accuracy is not None]
        if task in CLASSIFICATION and len(said) == 20 and max(said) == min(said) < 1:
            return "accuracy not changing"
    return None


def _symptom(epoch: Epoch) -> str | None:
    if not isfinite(epoch.loss) or not np.isfinite([*epoch.gradients, *epoch.variances]).all():
        return "numerical error"
    if any(share >= 0.7 for share in epoch.silent):
        return "dead ReLU"
    if any(share > 0.5 for share in epoch.saturated):
        return "saturated activation"
    if any(mean < 1e-7 for mean in epoch.mean_gradients):
        return "vanishing gradient"
    if any(not 1e-5 <= variance <= 10 for variance in epoch.variances):
        return "improper weights"
    if any(not 1e-5 <= ratio <= 1e-1 for ratio in epoch.update_ratios):
        return "improper learning rate"
    return None


RULES: dict[str, Callable[[History, str], str | None]] = {"AutoTrainer": auto_trainer, "DeepDiagnosis": deep_diagnosis}


def watched(recipe: thalweg.Recipe, task: str, reads: Any = None) -> History:
    """Train a recipe in a plain loop, and keep what the rules look at."""
    torch.manual_seed(recipe.seed)
    model = recipe.model()
    optimizer = recipe.optimizer(model.parameters())
    x, _ = split_of(recipe, "train")
    history = History([], None if not x.is_floating_point() else _range(x), _has_relu(model))
    layers = [
        weight
        for module in model.modules()
        if not isinstance(module, nn.Embedding)
        for weight in module.parameters(recurse=False)
        if weight.dim() > 1 and weight.requires_grad
    ]
    gradients: dict[int, Tensor] = {}
    for index, weight in enumerate(layers):
        weight.register_post_accumulate_grad_hook(lambda w, index=index: gradients.update({index: w.grad.clone()}))
    outputs: dict[str, list[float]] = {"silent": [], "saturated": []}
    _watch_units(model, outputs)
    trainer = _Trainer(recipe, model, optimizer, task, reads)
    for _ in range(recipe.epochs):
        before = [weight.detach().clone() for weight in layers]
        outputs["silent"], outputs["saturated"] = [], []
        gradients.clear()
        epoch = trainer.epoch(lambda: (outputs["silent"].clear(), outputs["saturated"].clear(), gradients.clear()))
        seen = [gradients.get(index, torch.zeros_like(weight)) for index, weight in enumerate(layers)]
        lr = optimizer.param_groups[0]["lr"]
        epoch.gradients = [float(g.norm()) for g in seen]
        epoch.mean_gradients = [float(g.abs().mean()) for g in seen]
        total = sum(g.numel() for g in seen)
        epoch.zeros = sum(int((g == 0).sum()) for g in seen) / total if total else 0.0
        epoch.variances = [float(weight.detach().var()) for weight in layers]
        sizes = [max(float(w.abs().mean()), 1e-30) for w in before]
        epoch.update_ratios = [lr * m / size for m, size in zip(epoch.mean_gradients, sizes, strict=True)]
        epoch.silent, epoch.saturated = list(outputs["silent"]), list(outputs["saturated"])
        epoch.validation_accuracy = trainer.validation()
        history.epochs.append(epoch)
        if not isfinite(epoch.loss):
            break
    return history


def _range(x: Tensor) -> tuple[float, float, float]:
    return float(x.nanmean().abs().maximum(x.abs().nanmean())), float(x.nan_to_num().min()), float(x.nan_to_num().max())


def _has_relu(model: nn.Module) -> bool:
    return any(isinstance(module, nn.ReLU) for module in model.modules())


def _watch_units(model: nn.Module, kept: dict[str, list[float]]) -> None:
    """Hooks on activations: the share of outputs of ReLUs that are 0, and of inputs of sigmoids and tanh beyond 5."""
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda m, i, o: kept["silent"].append(float((o <= 0).float().mean())))
        elif isinstance(module, nn.Sigmoid | nn.Tanh):
            module.register_forward_hook(
                lambda m, i, o: kept["saturated"].append(float((i[0].abs() >= 5).float().mean()))
            )


class _Trainer:
    """The loop of every tutorial, or the recipe's own, one epoch at a time."""

    def __init__(self, recipe: thalweg.Recipe, model: nn.Module, optimizer: Any, task: str, reads: Any) -> None:
        self.recipe, self.model, self.optimizer, self.task, self.reads = recipe, model, optimizer, task, reads
        split: Any = recipe.data.train
        loader = split if isinstance(split, DataLoader) else None
        self.size = (loader.batch_size if loader else recipe.batch_size) or len(split_of(recipe, "train")[1])
        self.in_order = loader is not None and isinstance(loader.sampler, SequentialSampler)
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.losses: list[float] = []
        self.right: list[float] = []
        self.step, self.steps = 0, recipe.epochs * -(-len(split_of(recipe, "train")[1]) // self.size)

    def epoch(self, forget: Callable[[], object]) -> Epoch:
        """Train for an epoch; `forget` is called before each batch, so that the last one is what is kept."""
        self.losses, self.right = [], []
        self.model.train()
        if self.recipe.loop is not None:
            self.recipe.loop(self.model, self.optimizer, self.batches(forget), self.loss)
        else:
            for x, y in self.batches(forget):
                self.optimizer.zero_grad()
                self.loss(self.model(x), y).backward()
                if self.recipe.clip_norm is not None:
                    nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
                self.optimizer.step()
        known = bool(self.right)
        return Epoch(float(np.mean(self.losses)), float(np.mean(self.right)) if known else None)

    def batches(self, forget: Callable[[], object]) -> Iterator[tuple[Tensor, Tensor]]:
        x, y = split_of(self.recipe, "train")  # anew each epoch: augmented examples are
        order = torch.arange(len(y)) if self.in_order else torch.randperm(len(y))
        for chunk in order.split(self.size):
            if self.recipe.schedule is not None:
                for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                    group["lr"] = rate * self.recipe.schedule(self.step, self.steps)
            forget()
            yield x[chunk], y[chunk]
            self.step += 1

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        loss = self.recipe.objective(output, target)
        self.losses.append(float(loss.detach()))
        if self.task in CLASSIFICATION:
            self.right.append(1 - float(wrong(self.task, output.detach(), target, self.reads).mean()))
        return loss if self.recipe.penalty is None else loss + self.recipe.penalty(self.model)

    def validation(self) -> float | None:
        """The accuracy on the validation split."""
        if self.task not in CLASSIFICATION:
            return None
        self.model.eval()
        x, y = split_of(self.recipe, "validation")
        with torch.no_grad():
            output = torch.cat([self.model(part) for part in x.split(self.recipe.batch_size or len(x))])
        return 1 - float(wrong(self.task, output, y, self.reads).mean())


def symptoms(recipe: thalweg.Recipe, task: str, reads: Any = None) -> dict[str, str | None]:
    """What each rule set says of a recipe: a symptom, None, or "n/a"."""
    history = watched(recipe, task, reads)
    return {name: rules(history, task) for name, rules in RULES.items()}
