"""Parameter groups: which weights decay, and which learn faster or slower than the rest."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import torch
from torch import nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.kinds import check_fields

NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


@no_type_check
@dataclass(frozen=True)
class Grouped:
    """An optimizer factory that sorts parameters into groups; the loop gives it the model, not the parameters.

    Weight decay is left to `factory` (`partial(torch.optim.AdamW, weight_decay=0.01)`), but biases, every parameter of
    a norm layer, and whatever else has fewer than two axes do not decay, unless `decay_norms_and_biases`. Embeddings
    do, as in nanoGPT and the Hugging Face trainer. `lr_factors` maps patterns of parameter names to factors of the
    learning rate; the first pattern that fits counts: `{"body.*": 0.1}` (Howard & Ruder 2018, section 3.1, for
    fine-tuning). Frozen parameters are left out. Raises `RecipeError` for a pattern that fits no name, a negative
    factor, and a model with nothing to train.

    >>> from functools import partial
    >>> model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2))
    >>> factory = Grouped(partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1), lr_factors={"0.*": 0.5})
    >>> [(group["lr"], group["weight_decay"], len(group["params"])) for group in factory(model).param_groups]
    [(0.005, 0.1, 1), (0.005, 0.0, 1), (0.01, 0.0, 3), (0.01, 0.1, 1)]
    """

    factory: Callable[..., torch.optim.Optimizer]
    lr_factors: Mapping[str, float] = field(default_factory=dict)
    decay_norms_and_biases: bool = False

    takes_model: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        for pattern, factor in self.lr_factors.items():
            if not factor >= 0:
                raise RecipeError(
                    f"Grouped: the learning-rate factor of {pattern!r} is {factor!r}, but it must be at least 0. Give "
                    "1.0 to learn like the rest; to hold parameters still, freeze them."
                )

    def __call__(self, model: nn.Module) -> torch.optim.Optimizer:
        trained = list(_trained(model))
        if not trained:
            raise RecipeError(
                f"Grouped: {type(model).__name__} has no parameter that learns. Unfreeze a part of it, or put a new "
                "layer behind it: nn.Sequential(Frozen(body), nn.Linear(...))."
            )
        self._check_patterns([name for name, _, _ in trained])
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter, decays in trained:
            groups.setdefault((self._factor(name), decays or self.decay_norms_and_biases), []).append(parameter)
        optimizer = self.factory([{"params": parameters} for parameters in groups.values()])
        for group, (factor, decays) in zip(optimizer.param_groups, groups, strict=True):
            _adjust(group, factor, decays)
        return optimizer

    def _factor(self, name: str) -> float:
        return next((factor for pattern, factor in self.lr_factors.items() if fnmatchcase(name, pattern)), 1.0)

    def _check_patterns(self, names: list[str]) -> None:
        for pattern in self.lr_factors:
            if not any(fnmatchcase(name, pattern) for name in names):
                stems = {name.rpartition(".")[0] + ".*" for name in names if "." in name}
                raise RecipeError(
                    f"Grouped: the pattern {pattern!r} of lr_factors fits no parameter that learns."
                    + did_you_mean(pattern, [*names, *stems])
                )


def _trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """Each parameter that learns, once, with its full name and whether it decays."""
    seen: set[int] = set()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(path, recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                bias = "bias" in name.rpartition(".")[2]
                yield name, parameter, parameter.dim() > 1 and not bias and not isinstance(module, NORMS)


def _adjust(group: dict[str, Any], factor: float, decays: bool) -> None:
    group["lr"] = group["lr"] * factor
    if not decays and "weight_decay" in group:
        group["weight_decay"] = 0.0
