"""What the checks of a recipe share: a fresh model, two small batches, and its outputs; all of them copies.

The recipe's own code (its model, its loss, its loop) may refuse what it is asked here. Then the check that asked says
nothing: `asking` turns what such code raises into `Unasked`, and nothing else is caught.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.examples import ExampleSource
from thalweg.core.generators import generator_state, own_generators, set_generator
from thalweg.core.nest import Nest, leaves, map_tensors, to_device
from thalweg.core.nodes import NodeSource, WholeSource
from thalweg.core.objective import MarkedObjective, Moment, PlainLoss, apply, as_objective, pair
from thalweg.core.randomness import generator, seed_everything
from thalweg.core.source import Source
from thalweg.core.threads import counting
from thalweg.training import Recipe, Run
from thalweg.training.build import open_split
from thalweg.training.factories import build_model

MOST = 32
"""Examples of a batch that checks look at."""
WORTH = 2.0e9
"""Multiplications that one check may spend: about a second on one core."""
STEP = 3_000_000
"""What a step of training costs beside its multiplications, in multiplications."""


class Unasked(Exception):
    """A check cannot be made: the recipe's own code refused what it was asked."""


@contextmanager
def asking() -> Iterator[None]:
    """Run code of the recipe's own, whose errors leave a check unmade."""
    try:
        yield
    except Unasked:
        raise
    except Exception as error:
        raise Unasked(str(error)) from error


@dataclass
class Examined:
    """A recipe under examination.

    `batch` and `other` are the first batches of the train split in the order of training, cut to a few examples, on
    the device; `whole` says that a batch is one thing and cannot be cut (a graph). `model` is as training builds it,
    and never trained: `fresh` copies it.
    """

    recipe: Recipe
    run: Run | None
    device: torch.device
    source: Source
    model: nn.Module
    form: PlainLoss | MarkedObjective
    batch: Nest
    other: Nest
    full: Nest
    work: int = 0

    @classmethod
    def of(cls, recipe: Recipe, run: Run | None, device: torch.device) -> "Examined":
        """Build the model as training does, and read two batches.

        Raises `Unasked`, `RecipeError` or `DataError` where that cannot be done.
        """
        source = unloaded(open_split(recipe, recipe.data.train, "train"))
        with asking(), streams_kept(recipe.data.train):
            drawn = source.batches(1, 0, generator(recipe.seed, "order", 1))
            first = next(drawn)
            second = next(drawn, first)
        form = copied_form(as_objective(recipe.objective), device)
        seed_everything(recipe.seed, "model")
        with asking():
            model = copy.deepcopy(build_model(recipe.model)).to(device)
        full = _owned(first, device)
        made = cls(recipe, run, device, source, model, form, full, _owned(second, device), full)
        made._settle()
        return made

    def _settle(self) -> None:
        """Give lazy layers their shapes, count what a forward pass costs, and cut the batches to what is looked at."""
        if not self.whole:
            self.batch, self.other = self.rows(self.full, MOST), self.rows(self.other, MOST)
        self.model.eval()
        with asking(), torch.set_grad_enabled(not self.plain), counting(self.model) as counted:
            if self.plain:
                apply(self.model, self.x)
            else:
                drawing = torch.Generator(self.device).manual_seed(0)
                self.form(self.model, self.batch, Moment(steps=1, generator=drawing))
        self.work = counted.total
        self.model.train()

    @cached_property
    def whole(self) -> bool:
        """Whether a batch is one thing: a graph, or tensors that do not share axis 0."""
        if isinstance(self.source, NodeSource | WholeSource):
            return True
        lengths = {leaf.shape[0] if leaf.dim() else None for leaf in leaves(self.full)}
        return len(lengths) != 1 or None in lengths

    @cached_property
    def plain(self) -> bool:
        """Whether the loss is `(output, target)` and a batch is a pair."""
        return isinstance(self.form, PlainLoss) and isinstance(self.full, tuple | list) and len(self.full) == 2

    @property
    def x(self) -> Nest:
        """The inputs of the batch."""
        return pair(self.batch)[0]

    @property
    def y(self) -> Any:
        """The targets of the batch."""
        return pair(self.batch)[1]

    @cached_property
    def n(self) -> int:
        """The examples of the batch."""
        return next(leaf.shape[0] for leaf in leaves(self.batch) if leaf.dim())

    def rows(self, nest: Nest, which: int | Tensor) -> Nest:
        """The first examples of a nest, or those of some places."""
        index = slice(which) if isinstance(which, int) else which
        return map_tensors(lambda leaf: leaf[index].clone(), nest)

    def fresh(self) -> nn.Module:
        """A copy of the model as training begins with it."""
        with asking():
            return copy.deepcopy(self.model)

    def rebuilt(self, seed: int) -> nn.Module:
        """A model from another start."""
        seed_everything(seed, "checks")
        with asking():
            return copy.deepcopy(self.recipe.model()).to(self.device)

    def judged(self, model: nn.Module, x: Nest) -> Any:
        """The output in evaluation mode, without a gradient."""
        model.eval()
        with asking(), torch.no_grad():
            return apply(model, map_tensors(torch.clone, x))

    def loss(self, output: Any, target: Nest) -> Tensor:
        """The plain loss as a scalar."""
        assert isinstance(self.form, PlainLoss)
        with asking():
            return self.form.scalar(output, target)

    def steps_within(self, most: int, passes: int = 3) -> int:
        """How many steps of training a check may take of this model."""
        return min(most, int(WORTH / (passes * self.work + STEP)))

    @cached_property
    def output(self) -> Any:
        """What the fresh model gives for the batch, in evaluation mode."""
        return self.judged(self.fresh(), self.x)

    @cached_property
    def tensors(self) -> bool:
        """Whether output and target are one tensor each, of finite numbers, with a row for each example."""
        if not self.plain or self.whole or not isinstance(self.y, Tensor) or not isinstance(self.output, Tensor):
            return False
        o, y = self.output, self.y
        return bool(o.dim() and y.dim() and len(o) == len(y) == self.n and o.is_floating_point() and o.isfinite().all())

    @cached_property
    def classes(self) -> bool:
        """Whether each target is the number of a class, of which the output scores all on axis 1."""
        if not self.tensors or self.y.is_floating_point() or self.y.dtype == torch.bool:
            return False
        shaped = self.output.dim() == self.y.dim() + 1 and self.output.shape[2:] == self.y.shape[1:]
        return bool(shaped and self.y.min() >= 0 and self.y.max() < self.output.shape[1])

    @cached_property
    def numbers(self) -> bool:
        """Whether targets are floating numbers, one for each number of the output."""
        return self.tensors and self.y.is_floating_point() and self.y.numel() == self.output.numel()

    @cached_property
    def two_valued(self) -> bool:
        """Whether targets are floating numbers of two values, yes and no."""
        return self.numbers and len(self.y.unique()) == 2

    @cached_property
    def distinct(self) -> bool:
        """Whether targets differ between examples."""
        return self.tensors and bool((self.y != self.y[:1]).any())

    def generator(self, purpose: str) -> torch.Generator:
        """Random numbers of a check's own."""
        return generator(self.recipe.seed, "checks", purpose)

    def shuffled(self, purpose: str) -> Tensor:
        """An order of the batch's examples in which none of few keeps its place by chance."""
        shift = 1 + int(torch.randint(max(self.n - 1, 1), (), generator=self.generator(purpose)))
        return (torch.arange(self.n, device=self.device) + shift) % self.n


def unloaded(source: Source) -> Source:
    """The same source read in this process: to look at two batches, no workers are started."""
    return replace(source, loading={}) if isinstance(source, ExampleSource) and source.loading else source


def copied_form(form: PlainLoss | MarkedObjective, device: torch.device) -> PlainLoss | MarkedObjective:
    """The objective around a copy of its loss, where that is a module."""
    return form.around(copy.deepcopy(form.inner).to(device)) if isinstance(form.inner, nn.Module) else form


def _owned(batch: Nest, device: torch.device) -> Nest:
    return map_tensors(torch.clone, to_device(batch, device))


@contextmanager
def streams_kept(split: Any) -> Iterator[None]:
    """Give the random streams that the data keep of their own back as they were."""
    kept = [(own, generator_state(own)) for own in own_generators(split)]
    try:
        yield
    finally:
        for own, state in kept:
            set_generator(own, state)
