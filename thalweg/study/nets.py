r"""Deep plain and residual networks of one family, so that only one thing differs between two arms.

With $h_0 = V x$, a plain layer is $h_l = \phi(\mathrm{norm}(W_l h_{l-1}))$, and a residual one adds what came in,
$h_l = h_{l-1} + \phi(\mathrm{norm}(W_l h_{l-1}))$ (He et al., "Deep Residual Learning for Image Recognition", 2015).
All layers between the first and the last have the same width.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.study.digits import CLASSES, PIXELS

Initial = Literal["he", "xavier", "torch"]


class Layer(nn.Module):
    """One hidden layer; `residual` adds its input to its output."""

    def __init__(self, width: int, activation: type[nn.Module], norm: bool, residual: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.activation = activation()
        self.residual = residual

    def forward(self, h: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        new: Tensor = self.activation(self.norm(self.linear(h)))
        return h + new if self.residual else new


def deep_net(
    depth: int,
    width: int,
    *,
    activation: type[nn.Module] = nn.ReLU,
    norm: bool = False,
    residual: bool = False,
    initial: Initial = "he",
) -> nn.Sequential:
    r"""A network of `depth` equal hidden layers for the digits.

    Initial weights have variance $2/n$ ("he", for ReLU; He et al. 2015b), $2/(n_{in}+n_{out})$ ("xavier", for sigmoid
    and tanh; Glorot & Bengio 2010), or what torch gives a linear layer, $1/(3n)$ ("torch").
    """
    layers = [Layer(width, activation, norm, residual) for _ in range(depth)]
    net = nn.Sequential(nn.Linear(PIXELS, width), *layers, nn.Linear(width, CLASSES))
    for module in net.modules():
        if isinstance(module, nn.Linear) and initial != "torch":
            nn.init.zeros_(module.bias)
            if initial == "he":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.xavier_normal_(module.weight)
    return net


def layer_gradients(net: nn.Sequential, loss: Float[Tensor, ""]) -> list[float]:
    """The length of the loss's gradient with respect to each hidden layer's weights, first layer first."""
    weights = [layer.linear.weight for layer in net if isinstance(layer, Layer)]
    return [float(gradient.norm()) for gradient in torch.autograd.grad(loss, weights)]
