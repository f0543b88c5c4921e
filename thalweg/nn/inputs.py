"""What stands before a network: noise on its inputs in training, or each example brought to one scale.

Inputs of several tensors have the numbers first. Of sequences of vectors, `(batch, length, features)` with lengths
`(batch,)`, padding counts nowhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.description import describe_piece
from thalweg.core.errors import RecipeError
from thalweg.nn.masks import present


class NoisyInputs(nn.Module):
    r"""Adds Gaussian noise to the inputs in training: `(batch, ...) -> model's output`.

    $x + s \, \sigma(x) \, \epsilon$ with $\epsilon \sim N(0, 1)$ and $\sigma(x)$ the deviation of the batch. For a
    squared error and little noise that is a penalty on how fast the output changes with the input (Bishop, "Training
    with Noise is Equivalent to Tikhonov Regularization", 1995).

    >>> model = NoisyInputs(nn.Identity(), share=0.5)
    >>> x = torch.tensor([[1.0, 3.0]])
    >>> bool((model.train()(x) != x).all()), model.eval()(x)
    (True, tensor([[1., 3.]]))
    """

    def __init__(self, model: nn.Module, share: float) -> None:
        super().__init__()
        self.model, self.share = model, share

    def forward(self, x: Float[Tensor, "batch ..."], *others: Any) -> Tensor:
        """The model's output, for inputs with noise while training."""
        if self.training:
            x = x + self.share * self._deviation(x, _there(x, others)) * torch.randn_like(x)
        output: Tensor = self.model(x, *others)
        return output

    @staticmethod
    def _deviation(x: Tensor, there: Tensor | None) -> Tensor:
        if there is None:
            return x.std(correction=0)
        share = there[..., None] / (x.shape[2] * there.sum().clamp_min(1))
        return ((x - (x * share).sum()).square() * share).sum().sqrt()


class Standardized(nn.Module):
    r"""Gives every example mean 0 and deviation 1 over its inputs: brightness and contrast no longer matter.

    `(batch, ...) -> model's output`, in training and evaluation alike. Of a sequence of vectors every feature $j$ is
    standardized by itself, over the $T$ positions: $(x_{tj} - m_j) / s_j$. Of recordings as log frames that takes away
    what a microphone, a room or a voice adds to each pitch throughout (cepstral mean and variance normalization: Atal
    1974, Viikki & Laurila 1998).
    Raises `RecipeError` for examples of one input.

    >>> model, x = Standardized(nn.Identity()), torch.tensor([[1.0, 2.0, 3.0]])
    >>> bool(torch.allclose(model(x), model(0.4 * x + 7), atol=1e-3))
    True
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Float[Tensor, "batch ..."], *others: Any) -> Tensor:
        """The model's output, for standardized inputs."""
        output: Tensor = self.model(self._scaled(x, _there(x, others)), *others)
        return output

    @staticmethod
    def _scaled(x: Tensor, there: Tensor | None) -> Tensor:
        if there is not None:
            share = there[..., None] / there.sum(1).clamp_min(1)[:, None, None]
            centred = (x - (x * share).sum(1, keepdim=True)) * there[..., None]
            return centred / ((centred.square() * share).sum(1, keepdim=True).sqrt() + 1e-5)
        flat = x.reshape(len(x), -1)
        if flat.shape[1] < 2:
            raise RecipeError(
                f"Each example of {tuple(x.shape)} has one input, and standardized by itself that is always 0. Leave "
                "standardize_examples out: it is for many inputs of one kind, as pixels are."
            )
        scaled = (flat - flat.mean(1, keepdim=True)) / (flat.std(1, correction=0, keepdim=True) + 1e-5)
        return scaled.reshape(x.shape)


def _there(x: Tensor, others: tuple[Any, ...]) -> Tensor | None:
    """Where sequences of vectors have a position, `(batch, length)`; None where the inputs are none."""
    lengths = others[0] if len(others) == 1 else None
    if not isinstance(lengths, Tensor) or x.dim() != 3 or lengths.shape != x.shape[:1] or lengths.is_floating_point():
        return None
    return present(lengths, x.shape[1])


@dataclass(frozen=True, repr=False)
class Prepared:
    """A model factory whose models get their inputs standardized, with noise, or both (then noise comes last).

    Raises `RecipeError` for noise below 0.

    >>> from functools import partial
    >>> factory = Prepared(partial(nn.Linear, 3, 2), input_noise=0.5)
    >>> factory, type(factory().model).__name__
    (Linear(3, 2) with noise of 0.5 on its inputs, 'Linear')
    """

    factory: Callable[[], nn.Module]
    input_noise: float = 0.0
    standardize_examples: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.input_noise < float("inf"):
            raise RecipeError(
                f"input_noise is {self.input_noise!r}, but it is the noise's deviation as a share of that of the "
                "inputs, at least 0. Give for instance 0.5."
            )

    def __call__(self) -> nn.Module:
        model = self.factory()
        model = NoisyInputs(model, self.input_noise) if self.input_noise else model
        return Standardized(model) if self.standardize_examples else model

    def __repr__(self) -> str:
        standardized = "each example standardized" if self.standardize_examples else ""
        noise = f"noise of {self.input_noise:g} on its inputs" if self.input_noise else ""
        return f"{describe_piece(self.factory)} with {' and '.join(filter(None, (standardized, noise)))}"
