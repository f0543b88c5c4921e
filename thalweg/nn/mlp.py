r"""The multilayer perceptron: linear layers with an activation between them.

With $h_0 = x$, each hidden layer is

$$ h_{l+1} = \mathrm{dropout}\big(\phi(\mathrm{norm}(W_l h_l + b_l))\big) $$

and the last layer is linear. The norm stands before the activation, as in Ioffe & Szegedy, "Batch Normalization"
(2015), section 3.2: $z = Wx + b$ is what is standardized. Batch norm subtracts the batch's mean, so that a bias before
it would have no effect (a flat direction of the loss); it is left out there.
"""

from itertools import pairwise

from torch import nn

from thalweg.nn.knobs import check_choice, check_count, check_dropout
from thalweg.nn.normalization import CENTERED, normalization

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
NORMS = ("batch", "layer", "group", "rms", "power")
"""Those of `normalization` that `(batch, features)` has: all but instance norm, which is over positions."""


def mlp(
    inputs: int,
    outputs: int,
    *,
    width: int = 64,
    depth: int = 2,
    norm: str | None = None,
    dropout: float = 0.0,
    activation: str = "relu",
) -> nn.Sequential:
    """A multilayer perceptron `(batch, ...) -> (batch, outputs)` of `depth` hidden layers; 0 is a linear model.

    The input may have any shape: it is flattened, and `inputs` is the number of values an example has. `norm` is None,
    "batch", "layer", "group", "rms" or "power" (`normalization`); `dropout` is the share of hidden units silenced in
    training. Raises `RecipeError` for a knob out of its range.

    >>> import torch
    >>> mlp(8 * 8, 10, width=32)(torch.zeros(5, 8, 8)).shape
    torch.Size([5, 10])
    >>> [type(layer).__name__ for layer in mlp(3, 2, depth=1, norm="batch", dropout=0.1)]
    ['Flatten', 'Linear', 'BatchNorm1d', 'ReLU', 'Dropout', 'Linear']
    """
    for knob, value in (("inputs", inputs), ("outputs", outputs), ("width", width)):
        check_count("mlp", knob, value)
    check_count("mlp", "depth", depth, least=0)
    check_choice("mlp", "norm", norm, (None, *NORMS))
    check_choice("mlp", "activation", activation, ACTIVATIONS)
    check_dropout("mlp", dropout)
    sizes = [inputs] + [width] * depth
    layers: list[nn.Module] = [nn.Flatten()]
    for size, next_size in pairwise(sizes):
        layers += _hidden(size, next_size, norm, dropout, activation)
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def _hidden(inputs: int, outputs: int, norm: str | None, dropout: float, activation: str) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Linear(inputs, outputs, bias=norm not in CENTERED)]
    if norm is not None:
        layers.append(normalization(norm, outputs))
    layers.append(ACTIVATIONS[activation]())
    if dropout:
        layers.append(nn.Dropout(dropout))
    return layers
