r"""Penalties: what large weights cost, added to the loss.

A penalty is the negative logarithm of a prior on the weights, as a loss is that of the data's likelihood:

$$ L_2 = \frac{\lambda}{2} \sum_k w_k^2 \quad (\text{normal prior of variance } 1 / n \lambda), \qquad
   L_1 = \lambda \sum_k |w_k| \quad (\text{Laplace prior of scale } 1 / n \lambda) $$

for $n$ examples whose mean loss is minimized. The gradient of $L_2$ is $\lambda w$, what torch's optimizers add as
`weight_decay` $= \lambda$ (all but AdamW). Penalties go into `Recipe(penalty=...)` and add up: `L2(1e-4) + L1(1e-5)`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.kinds import check_fields


@dataclass(frozen=True)
class Sum:
    """Several penalties as one; made by `+`.

    >>> L2(0.5) + L1(0.1)
    Sum(terms=(L2(strength=0.5, biases=False), L1(strength=0.1, biases=False)))
    """

    terms: tuple[Callable[[nn.Module], Tensor], ...]

    def __call__(self, model: nn.Module) -> Float[Tensor, ""]:
        return sum((term(model) for term in self.terms), start=torch.zeros(()))

    def __add__(self, other: Callable[[nn.Module], Tensor]) -> "Sum":
        return Sum((*self.terms, *(other.terms if isinstance(other, Sum) else (other,))))


@no_type_check
@dataclass(frozen=True)
class L2:
    r"""Half the sum of squared weights: $\frac{\lambda}{2} \lVert w \rVert^2$ with $\lambda$ = `strength`.

    `(model) -> scalar`, over trained parameters of two or more axes (weights); biases and norm scales only with
    `biases=True`. Frozen parameters are left out. Hoerl & Kennard, "Ridge Regression" (1970). Raises `RecipeError` for
    a strength that is negative or not finite.

    >>> model = nn.Linear(3, 2)
    >>> _ = nn.init.constant_(model.weight, 2.0)
    >>> L2(0.5)(model)  # 0.5 / 2 * 6 * 2^2
    tensor(6., grad_fn=<MulBackward0>)
    """

    strength: float
    biases: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        _check_strength(self, self.strength)

    def __call__(self, model: nn.Module) -> Float[Tensor, ""]:
        return self.strength / 2 * _total([weight.square().sum() for weight in penalized(model, self.biases)])

    def __add__(self, other: Callable[[nn.Module], Tensor]) -> Sum:
        return Sum((self,)) + other


@no_type_check
@dataclass(frozen=True)
class L1:
    r"""The sum of absolute weights: $\lambda \sum_k |w_k|$ with $\lambda$ = `strength`; it drives weights to 0.

    `(model) -> scalar`, over the same parameters as `L2`. Tibshirani, "Regression Shrinkage and Selection via the
    Lasso" (1996). Raises `RecipeError` for a strength that is negative or not finite.

    >>> model = nn.Linear(3, 2)
    >>> _ = nn.init.constant_(model.weight, -2.0)
    >>> L1(0.5)(model).item(), (L1(0.5) + L2(0.5))(model).item()
    (6.0, 12.0)
    """

    strength: float
    biases: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        _check_strength(self, self.strength)

    def __call__(self, model: nn.Module) -> Float[Tensor, ""]:
        return self.strength * _total([weight.abs().sum() for weight in penalized(model, self.biases)])

    def __add__(self, other: Callable[[nn.Module], Tensor]) -> Sum:
        return Sum((self,)) + other


def penalized(model: nn.Module, biases: bool = False) -> Iterator[Tensor]:
    """The parameters that a penalty counts, each once: trained ones, of two or more axes unless `biases`.

    Inside `torch.func.vmap` no parameter says that it requires a gradient; then all count but those of modules that are
    `declared_frozen`.

    >>> [tuple(weight.shape) for weight in penalized(nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5)))]
    [(5, 3)]
    """
    learning = any(parameter.requires_grad for parameter in model.parameters())
    declared = [module for module in model.modules() if getattr(module, "declared_frozen", False)]
    frozen = {id(parameter) for module in declared for parameter in module.parameters()}
    for parameter in model.parameters():
        trained = parameter.requires_grad if learning else id(parameter) not in frozen
        if trained and (biases or parameter.dim() > 1):
            yield parameter


def _total(sums: list[Tensor]) -> Tensor:
    return torch.stack(sums).sum() if sums else torch.zeros(())


def _check_strength(penalty: object, strength: float) -> None:
    if not (strength >= 0 and math.isfinite(strength)):
        raise RecipeError(
            f"{type(penalty).__name__}: strength is {strength!r}, but it must be at least 0 and finite. Give for "
            "instance 1e-4; 0.0 turns the penalty off."
        )
