"""From a recipe to something that can take steps: a fresh model, an optimizer over it, sources, a device."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from thalweg.core.arrays import ArraySource
from thalweg.core.convert import Batching, as_source
from thalweg.core.explain import explain
from thalweg.core.finite import check_finite
from thalweg.core.nest import to_device
from thalweg.core.notices import notice
from thalweg.core.objective import MarkedObjective, Moment, is_objective, reads_classes
from thalweg.core.randomness import seed_everything, stream_seed
from thalweg.core.source import Batched, Counted, Indexed, Source, plain_of
from thalweg.core.step import Step
from thalweg.core.threads import counting
from thalweg.measure.gradient import gradient_norm
from thalweg.training.factories import build_average, build_model, build_optimizer
from thalweg.training.judging import Judge
from thalweg.training.position import Position
from thalweg.training.precision import autocast, resolve_precision
from thalweg.training.rate import Rate, as_rate
from thalweg.training.recipe import Recipe
from thalweg.training.resident import resident
from thalweg.training.stopping import EarlyStopping
from thalweg.training.tally import RunningMean
from thalweg.training.updating import Clip, composed


@dataclass
class Training:
    """A run while it trains: the step, what updates it, where its batches come from, and the moment it has reached."""

    recipe: Recipe
    step: Step
    optimizer: Any
    rate: Rate
    source: Source
    validation: Source | None
    judge: Judge
    device: torch.device
    moment: Moment
    position: Position
    cleared: list[nn.Parameter]
    """Parameters whose gradients are cleared before a step beside what the optimizer's own `zero_grad` clears."""
    update: Callable[[], Any]
    """The optimizer's step, with what the recipe puts before and behind it."""
    clip: Clip | None = None
    whole: Any = None
    """The step as one compiled graph, where it is compiled."""
    norm: Tensor | None = None
    """The length of the gradient that a compiled step does not leave in the parameters."""
    average: Any = None
    """The running average of the weights, where the recipe has one."""
    choices: dict[str, str] = field(default_factory=dict)
    """What was chosen for this machine: a resume elsewhere says where it differs."""
    work: int = 0
    """Multiplications of a forward pass; 0 where they could not be counted."""

    @property
    def model(self) -> nn.Module:
        return self.step.model

    @cached_property
    def at_hand(self) -> Source:
        """The train split where its batches are cut out on the device, as far as it can go there."""
        return resident(self.source, self.device)

    @cached_property
    def validation_at_hand(self) -> Source | None:
        """The same of the validation split."""
        return None if self.validation is None else resident(self.validation, self.device)

    def compared(self, row: dict[str, Any]) -> float | None:
        """What epochs are compared by, the least being the best: their validation loss, or minus the metric that the
        objective is `chosen_by`.
        """
        metric = row["metrics"].get(self.chosen_by)
        return row["validation_loss"] if metric is None else -metric

    @property
    def chosen_by(self) -> str | None:
        """The metric by which the objective has its best epoch chosen, where that is not the validation loss."""
        return getattr(self.step.objective.inner, "chosen_by", None)

    @property
    def judged(self) -> nn.Module:
        """The model that is judged and kept: with averaged weights, where they are averaged."""
        return self.model if self.average is None else self.average.module

    def gradient_norm(self) -> float | None:
        """The length of the last gradient, as it was before it was clipped; None where there is none."""
        norm = self.norm if self.clip is None else self.clip.norm
        if norm is None and self.clip is None:
            norm = gradient_norm(self.model.parameters())
        return None if norm is None else float(norm)

    def reach(self, epoch: int, place: int = 0) -> None:
        """Note where training stands: in an epoch, and in the window of batches of this step.

        An objective's own random numbers depend on the seed, the step and the place alone.
        """
        self.moment.epoch = epoch
        if isinstance(self.step.objective, MarkedObjective):
            if self.moment.generator is None:
                self.moment.generator = torch.Generator(self.device)
            where = (self.moment.step, place) if place else (self.moment.step,)
            self.moment.generator.manual_seed(stream_seed(self.recipe.seed, "objective", *where))


def prepare(recipe: Recipe, device: torch.device) -> Training:
    """Build everything a run needs, and find what cannot work before the first step.

    Raises `RecipeError` and `DataError`, each with the mend. The global random streams are seeded here.
    """
    source = open_split(recipe, recipe.data.train, "train")
    seed_everything(recipe.seed, "model")
    model = build_model(recipe.model)
    source = _settled(source, model, recipe.batch_size)
    _say_thawed_statistics(model)
    if recipe.data.validation is None:
        validation = None
        if isinstance(recipe.stopping, EarlyStopping):
            recipe.stopping([{"validation_loss": None}])
    else:
        validation = open_split(recipe, recipe.data.validation, "validation")
    step = Step(model, recipe.objective, recipe.penalty)
    _materialize(step, source, device)
    step.to(device)
    optimizer = build_optimizer(recipe.optimizer, model, recipe.loop)
    batches = source.count_batches() if isinstance(source, Counted) else None
    steps = None if batches is None else ceil(batches / recipe.accumulate) * recipe.epochs
    moment = Moment(steps=steps, training=True)
    judge = Judge.of(recipe, step)
    largest = 0
    for name, split in (("train", source), ("validation", validation)):
        if isinstance(split, Indexed):
            with counting(model) as work:
                judge = judge.checked(model, split, device, name, moment)
            largest = max(largest, work.total)
    say_unseen_classes(recipe, source, validation)
    rate, position = as_rate(recipe.schedule, optimizer), Position(RunningMean(device))
    owned = {id(weight): weight for group in optimizer.param_groups for weight in group["params"]}
    cleared = [weight for weight in step.parameters() if id(weight) not in owned]
    if plainly_cleared(optimizer):
        cleared += owned.values()
    average = None if recipe.average is None else build_average(recipe.average, model)
    update, clip = composed(optimizer, moment, recipe.clip_norm, average)
    precision = resolve_precision(recipe.precision, device)
    step.block = autocast(precision, device)
    return Training(
        recipe=recipe,
        step=step,
        optimizer=optimizer,
        rate=rate,
        source=source,
        validation=validation,
        judge=judge,
        device=device,
        moment=moment,
        position=position,
        cleared=cleared,
        update=update,
        clip=clip,
        average=average,
        choices={"precision": precision, "compiled": "no", "layout": "contiguous"},
        work=largest,
    )


def plainly_cleared(optimizer: Any) -> bool:
    """Whether `zero_grad` is torch's own, which is said faster than called: it announces itself to the profiler."""
    return getattr(type(optimizer), "zero_grad", None) is torch.optim.Optimizer.zero_grad


def open_split(recipe: Recipe, split: Any, name: str) -> Source:
    """A split of a recipe as a source; arrays that a plain loss reads must be finite."""
    source = as_source(split, name, Batching(recipe.batch_size, recipe.collate))
    arrays = plain_of(source)
    if not isinstance(arrays, ArraySource) or is_objective(recipe.objective):
        return source
    if isinstance(arrays.data, tuple) and len(arrays.data) == 2:
        for part, data in zip(("inputs", "targets"), arrays.data, strict=True):
            check_finite(data, name, part)
    return source


def say_unseen_classes(recipe: Recipe, source: Source, validation: Source | None) -> None:
    """Say which classes are judged but never trained on, where a loss of classes reads arrays."""
    if not reads_classes(recipe.objective):
        return
    trained = _classes(source)
    for name, split in (("validation", validation), ("test", recipe.data.test)):
        pairs = isinstance(split, tuple)
        judged = _classes(as_source(split, name, Batching(recipe.batch_size)) if pairs else split)
        unseen = sorted(judged - trained) if trained else []
        if unseen:
            shown = ", ".join(map(str, unseen[:5])) + (", ..." if len(unseen) > 5 else "")
            notice(f"Classes that appear only in {name}, never in train, cannot be learned: {shown}.")


def _classes(split: Any) -> set[int]:
    source = plain_of(split)
    if not isinstance(source, ArraySource) or not isinstance(source.data, tuple) or len(source.data) != 2:
        return set()
    y = source.data[1]
    return set(y.unique().tolist()) if isinstance(y, Tensor) and y.dim() == 1 and not y.is_floating_point() else set()


def _settled(source: Source, model: nn.Module, batch_size: int | None) -> Source:
    """The train source with what has to be repaired: a batch larger than the data, a last batch of one."""
    if not isinstance(source, Indexed) or not isinstance(source, Batched) or batch_size is None:
        return source
    size = getattr(source, "batch_size", batch_size) or batch_size
    if size > len(source):
        notice(f"batch_size={size} is larger than the {len(source)} training examples: every step uses all of them.")
    merged = source.batched(size, merge_single=True)
    if _has_batch_norm(model) and _fewer(merged, source):
        notice("The last batch would hold one example, which batch norm cannot train on: it joins the batch before it.")
        return merged
    return source


def _fewer(merged: Batched, source: Batched) -> bool:
    """Whether merging a last batch of one makes an epoch shorter; what a sampler draws counts, not what there is."""
    counts = [each.count_batches() if isinstance(each, Counted) else None for each in (merged, source)]
    return None not in counts and counts[0] < counts[1]  # type: ignore[operator]


def _say_thawed_statistics(model: nn.Module) -> None:
    """Say where batch norm was frozen in evaluation mode, which training mode would thaw."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    own = [m for m in norms if not m.training and not any(p.requires_grad for p in m.parameters(recurse=False))]
    if own and not any(getattr(m, "declared_frozen", False) for m in model.modules()):
        notice(
            f"{len(own)} frozen batch norm layers are in evaluation mode, but training sets the whole model to "
            "training mode, and their running statistics move. Wrap the frozen part: thalweg.nn.Frozen(part)."
        )


def _has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def _materialize(step: Step, source: Source, device: torch.device) -> None:
    """Give lazy layers their shapes by one forward pass, before the optimizer asks for the parameters.

    Their initial weights are those of the CPU on any device, as those of other layers are; but where the pass fails
    there (a kernel of another device), it is made on the device.
    """
    if not _is_lazy(step):
        return
    batch = next(source.batches(0, 0, None))
    step.eval()
    with torch.no_grad():
        if device.type != "cpu":
            with suppress(Exception):
                step(to_device(batch, torch.device("cpu")), Moment())
        if _is_lazy(step) or device.type == "cpu":
            forward(step.to(device), to_device(batch, device), Moment())
    step.train()


def _is_lazy(step: Step) -> bool:
    lazy = (UninitializedParameter, UninitializedBuffer)
    return any(isinstance(tensor, lazy) for tensor in (*step.model.parameters(), *step.model.buffers()))


def forward(step: Step, batch: Any, moment: Moment) -> tuple[Tensor, Any]:
    """One forward pass of the step; an error is explained by the part that refused and the shapes it was given."""
    try:
        return step(batch, moment)
    except Exception as error:
        explained = explain(error, step.model, step.objective, batch)
        if explained is error:
            raise
        raise explained from error
