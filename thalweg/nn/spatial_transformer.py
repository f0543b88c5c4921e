r"""The spatial transformer: a layer that looks where it has to, by an affine warp that it learns.

A localization network reads the image and gives parameters $\theta$; the image is then read at the places $A_\theta p$
by one bilinear sampling (Jaderberg et al., "Spatial Transformer Networks", NIPS 2015). Nothing says where to look but
the loss, whose gradient goes through the sampling. In the beginning $A_\theta$ is the identity.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.nest import sent
from thalweg.core.warp import PADDINGS, Matrices, warp
from thalweg.nn.knobs import check_choice, check_count

IDENTITY: dict[str, tuple[float, ...]] = {
    "affine": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "attention": (1.0, 0.0, 0.0),
    "rotation": (0.0,),
}
"""For each kind of warp the parameters that change nothing."""


class SpatialTransformer(nn.Module):
    r"""Images or feature maps `(batch, channel, height, width)` read at places that a network chooses.

    `localization` is a network `(batch, channel, height, width) -> (batch, parameters)` that ends in a linear layer, or
    a number of channels, for which `localization_net` builds one. Whatever it is, the weights of its last layer begin
    as 0 and its bias as the identity: `forward` gives the image back to the bit until something is learned. `kind` says
    which warps are learned, with places in pixels from the middle, $h$ the half sides:

    - "affine", 6 parameters: $A = \begin{pmatrix} \theta_1 & \theta_2 \\ \theta_4 & \theta_5 \end{pmatrix}$,
      $t = (\theta_3 h_x, \theta_6 h_y)$ (for square images the paper's equation 1);
    - "attention", 3: $A = \theta_1 I$, $t = (\theta_2 h_x, \theta_3 h_y)$, a window that moves and grows (equation 2);
    - "rotation", 1: by $\theta_1$ radians.

    `size` is (height, width) of what comes out, or one number for both (None: as it went in); `padding` is what lies
    around, "zeros", "border" or "reflection".

    >>> x = torch.rand(5, 3, 28, 28)
    >>> layer = SpatialTransformer(3)
    >>> torch.equal(layer(x), x), SpatialTransformer(3, kind="attention", size=14)(x).shape
    (True, torch.Size([5, 3, 14, 14]))

    Raises `RecipeError` for a localization network whose last layer is not linear with a bias and so many outputs, and
    for a knob out of its range.
    """

    @no_type_check
    def __init__(
        self,
        localization: nn.Module | int,
        *,
        kind: str = "affine",
        size: int | tuple[int, int] | None = None,
        padding: str = "zeros",
    ) -> None:
        super().__init__()
        check_choice("SpatialTransformer", "kind", kind, IDENTITY)
        check_choice("SpatialTransformer", "padding", padding, PADDINGS)
        sides = (size, size) if isinstance(size, int) else size
        if sides is not None and not (
            isinstance(sides, tuple | list) and len(sides) == 2 and all(map(_is_side, sides))
        ):
            raise RecipeError(
                f"SpatialTransformer: size is {size!r}, but it is (height, width) in pixels, or one number."
            )
        self.kind, self.padding, self.size = kind, padding, None if sides is None else (sides[0], sides[1])
        if not isinstance(localization, nn.Module | int):
            raise RecipeError(
                f"SpatialTransformer was given {localization!r}, but it takes a localization network, or a number of "
                "channels, for which one is built."
            )
        count = len(IDENTITY[kind])
        self.localization = (
            localization if isinstance(localization, nn.Module) else localization_net(localization, count)
        )
        _begin_with_identity(self.localization, IDENTITY[kind])

    def extra_repr(self) -> str:
        return f"kind={self.kind!r}, size={self.size}, padding={self.padding!r}"

    def matrices(self, x: Float[Tensor, "batch channel height width"]) -> Matrices:
        """Where each image is read, as `thalweg.core.warp` takes it: what the network has looked at."""
        theta = self.localization(x)
        count = len(IDENTITY[self.kind])
        if theta.shape != (len(x), count):
            raise RecipeError(
                f"The localization network gave {tuple(theta.shape)}, but kind={self.kind!r} takes {(len(x), count)}: "
                f"{count} for each image. Let it flatten its features before its last layer."
            )
        half = sent([x.shape[3] / 2, x.shape[2] / 2], theta)
        if self.kind == "affine":
            rows = theta.view(-1, 2, 3)
            return torch.cat((rows[:, :, :2], rows[:, :, 2:] * half[:, None]), dim=2)
        zero = torch.zeros_like(theta[:, 0])
        if self.kind == "attention":
            scale, right, down = theta[:, 0], theta[:, 1] * half[0], theta[:, 2] * half[1]
            return torch.stack((scale, zero, right, zero, scale, down), dim=1).view(-1, 2, 3)
        cosine, sine = theta[:, 0].cos(), theta[:, 0].sin()
        return torch.stack((cosine, -sine, zero, sine, cosine, zero), dim=1).view(-1, 2, 3)

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel rows columns"]:
        """The images, warped."""
        return warp(x, self.matrices(x), self.size, self.padding)


@no_type_check
def localization_net(channels: int, outputs: int, *, width: int = 8, hidden: int = 32) -> nn.Sequential:
    """A small localization network `(batch, channels, height, width) -> (batch, outputs)` for images of any one size.

    Two convolutions, each with a pooling, and two linear layers, of which the first takes its size from the first
    batch. There is no global pooling, which would forget where things are. Raises `RecipeError` for counts below 1.

    >>> localization_net(3, 6)(torch.zeros(5, 3, 28, 28)).shape
    torch.Size([5, 6])
    """
    for knob, value in {"channels": channels, "outputs": outputs, "width": width, "hidden": hidden}.items():
        check_count("localization_net", knob, value)
    layers: list[nn.Module] = []
    for inputs, filters in ((channels, width), (width, 2 * width)):
        layers += [nn.Conv2d(inputs, filters, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def _begin_with_identity(network: nn.Module, identity: tuple[float, ...]) -> None:
    last: Any = [module for module in network.modules() if not list(module.children())][-1]
    fits = isinstance(last, nn.Linear) and last.bias is not None and last.out_features == len(identity)
    if not fits or isinstance(last, nn.modules.lazy.LazyModuleMixin):
        raise RecipeError(
            f"The localization network ends in {last}, but it has to end in a linear layer with a bias, which begins "
            f"as the identity: nn.Linear(features, {len(identity)})."
        )
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor(identity))


def _is_side(side: Any) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and side > 0
