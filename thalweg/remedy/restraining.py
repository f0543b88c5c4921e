"""Remedies for a validation loss that is too high although the train loss is small: what keeps a model from fitting
what is particular to its examples.

Early stopping is none of them: a run keeps the weights of its best epoch anyway. How much more data would help is told
by `thalweg.measure.learning_curve`.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.convert import loaded
from thalweg.core.errors import ThalwegError
from thalweg.core.objective import is_objective
from thalweg.core.randomness import untouched
from thalweg.core.source import plain_of
from thalweg.diagnosis.checks.data_rows import Rows, read_rows
from thalweg.diagnosis.laboratory import open_indexed
from thalweg.loss import L1
from thalweg.remedy.altered import Altered, Trace, by_knob, has, knob_of, set_module, traced
from thalweg.remedy.fitting import built, steps_of
from thalweg.remedy.images import augmented
from thalweg.training import Recipe

MIXUP, SMOOTHING, DROPPED, MORE_DROPPED = 0.2, 0.1, 0.3, 0.5
SPARSE = 1e-3
"""The strength of an L1 penalty."""
MOST_DECAY = 1.0
FEWEST_EXAMPLES, MOST_COLUMNS = 50, 500
"""Features are told useless by so many examples at least, and where there are not too many of them."""
MASKED, NARROW = "blind to inputs that tell nothing", "half as wide"


def mixed_up(recipe: Recipe) -> Recipe:
    """The recipe trained on mixtures of two examples and of their classes (mixup, Zhang et al. 2018).

    Where the inputs are floating numbers, the targets one class each, and the loss takes shares of classes.
    """
    seen = traced(recipe)
    if seen is None or not isinstance(seen.x, Tensor) or not seen.x.is_floating_point() or not _classes(seen):
        return recipe
    classes = int(seen.output.shape[1])
    if int(seen.y.min()) < 0 or int(seen.y.max()) >= classes or is_objective(recipe.objective):
        return recipe
    try:
        recipe.objective(seen.output, F.one_hot(seen.y.long(), classes).to(seen.output.dtype))
        return augmented(recipe, mixup=MIXUP, classes=classes)
    except (ThalwegError, RuntimeError, TypeError, ValueError, IndexError):  # a loss that reads class numbers alone
        return recipe


def _classes(seen: Trace) -> bool:
    """Whether the output holds scores of classes, and the targets one class for each example."""
    if not isinstance(seen.output, Tensor) or not isinstance(seen.y, Tensor):
        return False
    return seen.output.dim() == 2 and seen.output.shape[1] > 1 and seen.y.dim() == 1 and not seen.y.is_floating_point()


def smoothed(recipe: Recipe, share: float = SMOOTHING) -> Recipe:
    """The recipe whose loss spreads a share of each target over all classes (Szegedy et al. 2016, section 7).

    Judged is without it, as ever. Itself where its loss has no such setting, or it is set.
    """
    loss: Any = recipe.objective
    if loss is F.cross_entropy or (isinstance(loss, partial) and loss.func is F.cross_entropy):
        bound = loss.keywords.get("label_smoothing", 0.0) if isinstance(loss, partial) else 0.0
        return recipe if bound else recipe.but(objective=partial(loss, label_smoothing=share))
    if not isinstance(loss, nn.Module) or getattr(loss, "label_smoothing", None) != 0:
        return recipe
    other = copy.copy(loss)
    setattr(other, "label_smoothing", share)  # noqa: B010 - nn.Module has no such attribute for mypy
    return recipe.but(objective=other)


def dropped(recipe: Recipe) -> Recipe:
    """The recipe with dropout before its last linear layer (Srivastava et al. 2014), or with more where there is some.

    >>> import thalweg
    >>> dropped(thalweg.cases.get("healthy")).model()[3]
    Dropout(p=0.3, inplace=False)
    """
    seen = traced(recipe)
    if seen is None:
        return recipe
    rates = [module.p for module in seen.model.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
    rate = MORE_DROPPED if any(rates) else DROPPED
    if rates and max(rates) >= MORE_DROPPED:
        return recipe
    if isinstance(knob_of(recipe.model, "dropout"), int | float):
        knob = by_knob(recipe.model, "dropout", rate)
        if knob is not None:
            return recipe.but(model=knob)
    if any(rates):
        return recipe.but(model=Altered(recipe.model, partial(with_more_dropout, rate=rate), f"dropout of {rate:g}"))
    linear = [layer.name for layer in seen.layers if type(layer.module) is nn.Linear]
    if len(seen.layers) < 2 or not linear or seen.layers[-1].name != linear[-1]:
        return recipe
    alter = partial(with_dropout, before=linear[-1], rate=rate)
    return recipe.but(model=Altered(recipe.model, alter, f"dropout of {rate:g} before its last layer"))


def with_dropout(model: nn.Module, before: str, rate: float) -> nn.Module:
    """The model with dropout before one of its layers."""
    return set_module(model, before, nn.Sequential(nn.Dropout(rate), model.get_submodule(before)))


def with_more_dropout(model: nn.Module, rate: float) -> nn.Module:
    """The model with the rates of all its dropout layers raised to `rate`."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and 0 < module.p < rate:
            module.p = rate
    return model


def sparse(recipe: Recipe, strength: float = SPARSE) -> Recipe:
    """The recipe with an L1 penalty on its weights, beside its own."""
    own: Any = recipe.penalty
    if own is None:
        return recipe.but(penalty=L1(strength))
    terms = getattr(own, "terms", (own,))
    return recipe if any(isinstance(term, L1) for term in terms) else recipe.but(penalty=L1(strength) + own)


def decayed(recipe: Recipe) -> Recipe:
    r"""The recipe by AdamW at its own rate $\eta$, with a decay by which a weight of before the run is down to $1/e$.

    $\lambda = 1 / (\eta \cdot \text{steps})$, at most 1: the time over which AdamW averages its updates is what decides
    (Wang & Aitchison, "How to set AdamW's weight decay as you scale model and dataset size", 2024). Where the optimizer
    is Adam or AdamW, with one group of parameters, and decays nothing as it is.
    """
    own, steps = built(recipe), steps_of(recipe)
    adam = isinstance(own, torch.optim.Adam) and len(own.param_groups) == 1
    if not adam or recipe.loop is not None or not steps:
        return recipe
    group = own.param_groups[0]
    decay = min(MOST_DECAY, 1 / (float(group["lr"]) * steps)) if group["lr"] else 0.0
    if not decay or float(group["weight_decay"]) > (decay / 2 if isinstance(own, torch.optim.AdamW) else 0.0):
        return recipe
    kept = {name: group[name] for name in ("betas", "eps") if group[name] != STANDARD[name]}
    rate = float(group["lr"])
    return recipe.but(optimizer=partial(torch.optim.AdamW, lr=rate, weight_decay=float(f"{decay:.2g}"), **kept))


STANDARD: dict[str, Any] = {"betas": (0.9, 0.999), "eps": 1e-8}


def narrowed(recipe: Recipe) -> Recipe:
    """The recipe with a model half as wide: fewer parameters; itself where its layers cannot be told."""
    own = knob_of(recipe.model, "width")
    if isinstance(own, int) and own >= 2 and (knob := by_knob(recipe.model, "width", own // 2)) is not None:
        return recipe.but(model=knob)
    seen = traced(recipe)
    if seen is None or len(seen.layers) < 2 or has(recipe.model, NARROW):
        return recipe
    with untouched():
        names = tuple(name for name, module in seen.model.named_modules() if _halved(module, True, True) is not None)
    alter = partial(with_half, names=names, first=seen.layers[0].name, last=seen.layers[-1].name)
    halved = recipe.but(model=Altered(recipe.model, alter, NARROW))
    return halved if traced(halved) is not None else recipe


def with_half(model: nn.Module, names: tuple[str, ...], first: str, last: str) -> nn.Module:
    """The model with the named layers half as wide, but for the inputs of the first and the outputs of the last."""
    for name in names:
        half = _halved(model.get_submodule(name), name != first, name != last)
        assert half is not None
        model = set_module(model, name, half)
    return model


def _halved(module: nn.Module, inner: bool, outer: bool) -> nn.Module | None:
    """A new layer of the same settings whose inner and outer sides are half as wide; None for what has no width."""

    def half(size: int, halves: bool) -> int:
        return max(1, size // 2) if halves else size

    if type(module) is nn.Linear:
        return nn.Linear(half(module.in_features, inner), half(module.out_features, outer), module.bias is not None)
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and module.groups == 1:
        names = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        settings: Any = {name: getattr(module, name) for name in names}
        channels = half(module.in_channels, inner), half(module.out_channels, outer)
        return type(module)(*channels, bias=module.bias is not None, **settings)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        return type(module)(half(module.num_features, True), module.eps, module.momentum, module.affine)
    if type(module) is nn.LayerNorm and len(module.normalized_shape) == 1:
        return nn.LayerNorm(half(module.normalized_shape[0], True), module.eps, module.elementwise_affine)
    return None


class Masked(nn.Module):
    """A model to which some columns of its inputs are always 0.

    >>> Masked(nn.Identity(), (1,))(torch.tensor([[2.0, 3.0]]))
    tensor([[2., 0.]])
    """

    hidden: Tensor

    def __init__(self, model: nn.Module, columns: tuple[int, ...]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("hidden", torch.tensor(columns, dtype=torch.int64))

    def forward(self, x: Float[Tensor, "batch columns"]) -> Tensor:
        """The model's output, blind to these columns."""
        output: Tensor = self.model(x.index_fill(1, self.hidden, 0.0))
        return output


def masked(recipe: Recipe, which: Callable[[Rows], tuple[int, ...]] | None = None) -> Recipe:
    """The recipe whose model is blind to the columns of train that tell nothing of the targets (`useless`)."""
    rows = rows_of(recipe)
    if rows is None or not rows.table or has(recipe.model, MASKED):
        return recipe
    columns = (which or useless)(rows)
    if not columns or rows.x is None or len(columns) >= rows.x.shape[1]:
        return recipe
    return recipe.but(model=Altered(recipe.model, partial(Masked, columns=columns), MASKED))


def these(rows: Rows, columns: tuple[int, ...]) -> tuple[int, ...]:
    """Columns that are known; none where the rows have not as many."""
    return columns if rows.x is not None and max(columns, default=0) < rows.x.shape[1] else ()


def rows_of(recipe: Recipe) -> Rows | None:
    """The train examples as rows; None where they are something else."""
    with untouched():
        try:
            return read_rows(plain_of(open_indexed(recipe, loaded(recipe.data.train), "train")), "train")
        except (ThalwegError, RuntimeError, ValueError, TypeError):
            return None


def useless(rows: Rows) -> tuple[int, ...]:
    """The columns that trees find no more useful than columns of the same numbers in another order.

    Each column has a shadow, itself shuffled; a column is kept that matters more to extremely randomized trees than any
    shadow does (Kursa & Rudnicki, "Feature Selection with the Boruta Package", 2010, one round of it).
    """
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    if rows.x is None or rows.targets is None or len(rows.kept) < FEWEST_EXAMPLES or rows.x.shape[1] > MOST_COLUMNS:
        return ()
    x, y = np.nan_to_num(rows.x), rows.y if rows.classes else rows.y.squeeze()
    if not np.isfinite(y).all() or x.shape[1] < 2:
        return ()
    shadows = np.random.default_rng(0).permuted(x, axis=0)
    kind = ExtraTreesClassifier if rows.classes else ExtraTreesRegressor
    trees = kind(200, min_samples_leaf=3, random_state=0, n_jobs=1).fit(np.concatenate([x, shadows], axis=1), y)
    own, theirs = np.split(trees.feature_importances_, 2)
    return tuple(np.flatnonzero(own <= theirs.max()).tolist())
