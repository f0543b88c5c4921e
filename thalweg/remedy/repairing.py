"""Repairs of what a check has seen: of the head, the loss, the optimizer or the order of a program, as changes.

What a flaw advises in words is done to what the factories build, and proved like any other remedy. A loss that was
wrong cannot judge whether it is right now: both recipes are then judged by the repaired one (`judged_rightly`).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.convert import Batching, as_source, loaded
from thalweg.core.description import describe_piece
from thalweg.core.examples import ExampleSource
from thalweg.core.objective import is_objective
from thalweg.diagnosis import Cause
from thalweg.diagnosis.laboratory import open_indexed
from thalweg.remedy.altered import Altered, has, judge_kept, set_module, traced
from thalweg.remedy.fitting import built
from thalweg.remedy.gaps import readable, refused
from thalweg.remedy.remedy import Remedy
from thalweg.training import Recipe

SOFT, SQUASHING = (nn.Softmax, nn.Softmax2d), (nn.Sigmoid, nn.Hardsigmoid)
BOUNDED = (*SQUASHING, nn.Tanh, nn.Hardtanh, nn.Softsign, nn.ReLU, nn.ReLU6, nn.Softplus)
LOGARITHMS, LOGITS = "the logarithm of its outputs", "the logits of its outputs"
BARE = "without the activation behind its last layer"
REJUDGED = (Cause.WIRING, Cause.DATA, Cause.MISMATCH)
"""Causes whose remedies may change the loss, the examples that can be judged, or their shares."""
MOMENTUM = 0.1
"""Of batch norm: the share of the new value in a running statistic."""


def judged_rightly(recipe: Recipe, repaired: Recipe) -> Recipe:
    """The recipe as it was, by what can judge both: the repaired loss, targets that are there, shares as in test.

    Where its loss was repaired and it has no judge of its own, the repaired one judges (a repair of the loss keeps the
    judge open, any other one does not touch the loss). Where its data have gaps it takes them, and its loss is not
    finite. Where validation alone was changed, to hold the classes as test does, both are judged by that.
    """
    data, other = recipe.data, repaired.data
    if other.train is not data.train and refused(recipe) and not refused(repaired):
        recipe = readable(recipe)
    elif other.train is data.train and other.validation is not data.validation:
        recipe = recipe.but(data=replace(data, validation=other.validation))
    same = recipe.judge is not None or repaired.judge is not None or repaired.objective is recipe.objective
    return recipe if same else recipe.but(judge=judge_kept(repaired))


def judged_with(recipe: Recipe, remedy: Remedy) -> Recipe:
    """The recipe as it was, by what can judge it with the remedy too, where a remedy of its kind may touch the judge.

    >>> import thalweg
    >>> recipe, loss = thalweg.cases.get("healthy"), nn.MSELoss()
    >>> judged_with(recipe, Remedy("another loss", Cause.WIRING, lambda recipe: recipe.but(objective=loss))).judge
    MSELoss()
    """
    return judged_rightly(recipe, remedy(recipe)) if remedy.cause in REJUDGED else recipe


def bare_headed(recipe: Recipe, kinds: tuple[type[nn.Module], ...], otherwise: str = "") -> Recipe:
    r"""The recipe whose models end before their last activation, where that is a module of one of these kinds.

    Where it is written into `forward`, `otherwise` says what undoes it: LOGARITHMS for a softmax (the softmax of
    $\log p$ is $p$), LOGITS for a sigmoid.
    """
    seen = traced(recipe)
    if seen is None:
        return recipe
    if seen.last is not None and isinstance(seen.model.get_submodule(seen.last), kinds) and len(seen.calls) > 1:
        return _with_head(recipe, seen.last, nn.Identity(), BARE)
    undone: dict[str, Callable[[nn.Module], nn.Module]] = {
        LOGARITHMS: partial(Undone, odds=False),
        LOGITS: partial(Undone, odds=True),
    }
    if otherwise not in undone or has(recipe.model, otherwise) or not isinstance(seen.output, Tensor):
        return recipe
    return recipe.but(model=Altered(recipe.model, undone[otherwise], otherwise))


class Undone(nn.Module):
    r"""A model whose outputs are shares, as scores: $\log p$, or with `odds` $\log p - \log (1 - p)$.

    >>> Undone(nn.Softmax(1), odds=False)(torch.tensor([[1.0, 1.0]])).softmax(1)
    tensor([[0.5000, 0.5000]])
    """

    def __init__(self, model: nn.Module, odds: bool) -> None:
        super().__init__()
        self.model, self.odds = model, odds

    def forward(self, x: Any) -> Tensor:
        """The scores."""
        share: Tensor = self.model(x)
        tiny = torch.finfo(share.dtype).eps
        share = share.clamp(tiny, 1 - tiny)
        return share.log() - (1 - share).log() if self.odds else share.log()


def with_head(recipe: Recipe, head: nn.Module, kinds: tuple[type[nn.Module], ...] = SOFT) -> Recipe:
    """The recipe whose models end with another module in the place of one of these kinds."""
    seen = traced(recipe)
    if seen is None or seen.last is None or not isinstance(seen.model.get_submodule(seen.last), kinds):
        return recipe
    return _with_head(recipe, seen.last, head, f"{describe_piece(head)} at its end")


def ended(recipe: Recipe, head: nn.Module) -> Recipe:
    """The recipe whose models have one module more behind them."""
    says = f"{describe_piece(head)} behind it"
    return recipe if has(recipe.model, says) else recipe.but(model=Altered(recipe.model, partial(_behind, head), says))


def over_classes(recipe: Recipe) -> Recipe:
    """The recipe whose softmax is over the classes, `dim=1`, and not over the batch, where it is a module."""
    seen = traced(recipe)
    kinds = (nn.Softmax, nn.LogSoftmax)
    names = (
        [call.name for call in seen.calls if isinstance(call.module, kinds) and call.module.dim == 0] if seen else []
    )
    if not names:
        return recipe
    return recipe.but(
        model=Altered(recipe.model, partial(_over_classes, names=tuple(names)), "softmax over the classes")
    )


def _over_classes(model: nn.Module, names: tuple[str, ...]) -> nn.Module:
    for name in names:
        softmax = model.get_submodule(name)
        assert isinstance(softmax, nn.Softmax | nn.LogSoftmax)
        softmax.dim = 1
    return model


def _with_head(recipe: Recipe, last: str, head: nn.Module, says: str) -> Recipe:
    return recipe.but(model=Altered(recipe.model, partial(_replaced, name=last, head=head), says))


def _replaced(model: nn.Module, name: str, head: nn.Module) -> nn.Module:
    return set_module(model, name, copy.deepcopy(head))


def _behind(head: nn.Module, model: nn.Module) -> nn.Module:
    return nn.Sequential(model, copy.deepcopy(head))


@dataclass(frozen=True, repr=False)
class Mended:
    """A plain loss that is mended: "paired", output and target of one shape; "turned", its sign; "renamed", its labels.

    >>> Mended(nn.MSELoss(), "paired")(torch.zeros(2, 1), torch.tensor([1.0, 3.0])), Mended(nn.MSELoss(), "turned")
    (tensor(5.), MSELoss(), turned)
    """

    loss: Callable[[Any, Any], Tensor]
    how: str
    low: float = 0.0
    high: float = 1.0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if self.how == "paired":
            return self.loss(output, target.reshape(output.shape))
        if self.how == "renamed":
            return self.loss(output, (target - self.low) / (self.high - self.low))
        return -self.loss(output, target)

    def __repr__(self) -> str:
        return f"{describe_piece(self.loss)}, {self.how}"


def mended(recipe: Recipe, how: str) -> Recipe:
    """The recipe with its loss "paired" (each output with its own target) or "turned" (of the other sign)."""
    loss: Any = recipe.objective
    if is_objective(loss) or isinstance(loss, Mended):
        return recipe
    seen = traced(recipe)
    if how == "paired" and (
        seen is None
        or not isinstance(seen.output, Tensor)
        or not isinstance(seen.y, Tensor)
        or seen.output.shape == seen.y.shape
        or seen.output.numel() != seen.y.numel()
    ):
        return recipe
    return recipe.but(objective=Mended(loss, how))


def renamed(recipe: Recipe) -> Recipe:
    """The recipe whose two labels, whatever numbers they are, are 0 and 1 to its loss."""
    seen = traced(recipe)
    if seen is None or not isinstance(seen.y, Tensor) or is_objective(recipe.objective):
        return recipe
    labels = seen.y.unique().tolist()
    if len(labels) != 2 or labels == [0, 1]:
        return recipe
    return recipe.but(objective=Mended(recipe.objective, "renamed", float(labels[0]), float(labels[1])))


def averaged(recipe: Recipe) -> Recipe:
    """The recipe whose loss is the mean over the examples and not their sum, where the loss says which."""
    loss: Any = recipe.objective
    if isinstance(loss, partial) and loss.keywords.get("reduction") == "sum":
        return recipe.but(objective=partial(loss, reduction="mean"))
    if not isinstance(loss, nn.Module) or getattr(loss, "reduction", None) != "sum":
        return recipe
    other = copy.copy(loss)
    setattr(other, "reduction", "mean")  # noqa: B010 - nn.Module has no such attribute for mypy
    return recipe.but(objective=other)


def robust(recipe: Recipe) -> Recipe:
    """The recipe with Huber's loss (1964) in the place of the squared error, judged as before.

    Few targets far out move it less. The judge stays what it was, the squared error.
    """
    if type(recipe.objective) is not nn.MSELoss or recipe.objective.reduction != "mean":
        return recipe
    return recipe.but(objective=nn.HuberLoss(), judge=judge_kept(recipe))


@dataclass(frozen=True, repr=False)
class Complete:
    """An optimizer factory over all that requires a gradient, each group at a rate above 0.

    What its factory left out, as where the head was exchanged after the optimizer was built, joins its first group;
    groups whose rate is 0 take the largest of the others.
    """

    factory: Callable[..., Any]
    takes_model = True

    def __call__(self, model: nn.Module) -> Any:
        whole = getattr(self.factory, "takes_model", False)
        optimizer = self.factory(model) if whole else self.factory(model.parameters())
        held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        left = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in held]
        rate = max(float(group["lr"]) for group in optimizer.param_groups)
        if left:
            optimizer.param_groups[0]["params"] += left
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] or rate
        return optimizer

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)} over all parameters"


def complete(recipe: Recipe) -> Recipe:
    """The recipe whose optimizer holds all that requires a gradient, at a rate above 0."""
    own = built(recipe)
    lost = isinstance(recipe.optimizer, Complete) or not any(float(group["lr"]) for group in own.param_groups)
    return recipe if lost or recipe.loop is not None else recipe.but(optimizer=Complete(recipe.optimizer))


def freed(recipe: Recipe) -> Recipe:
    """The recipe whose models train all of their parameters; itself where none is frozen."""
    seen = traced(recipe)
    if seen is None or all(weight.requires_grad for weight in seen.model.parameters()):
        return recipe
    return recipe.but(model=Altered(recipe.model, _free, "with nothing frozen"))


def _free(model: nn.Module) -> nn.Module:
    return model.requires_grad_(True)


def shuffled(recipe: Recipe) -> Recipe:
    """The recipe whose train examples come in a new order in every epoch: those of a stream are held in memory."""
    source = as_source(recipe.data.train, "train", Batching(recipe.batch_size, recipe.collate))
    if isinstance(source, ExampleSource):
        if source.shuffled and source.sampler is None:
            return recipe
        return _trained_on(recipe, copy.copy(source), shuffled=True, sampler=None)
    held = open_indexed(recipe, loaded(recipe.data.train), "train")
    return recipe if held is source or type(held) is type(source) else _trained_on(recipe, held)


def _trained_on(recipe: Recipe, source: Any, **changes: Any) -> Recipe:
    return recipe.but(data=replace(recipe.data, train=replace(source, **changes) if changes else source))


def remembering(recipe: Recipe) -> Recipe:
    """The recipe whose batch norms take a tenth of each new batch into their running statistics, as torch's do."""
    seen = traced(recipe)
    kinds = nn.modules.batchnorm._BatchNorm
    slow = seen is not None and any(
        isinstance(each, kinds) and each.momentum is not None and each.momentum < MOMENTUM
        for each in seen.model.modules()
    )
    return recipe.but(model=Altered(recipe.model, _remembering, "batch norms of momentum 0.1")) if slow else recipe


def _remembering(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None:
            module.momentum = max(module.momentum, MOMENTUM)
    return model
