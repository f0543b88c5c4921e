r"""Normalization by name: what each one takes its statistics over.

All are $y = \gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta$ with a $\gamma$ and $\beta$ for each feature, and
differ in the numbers that $\mu$ and $\sigma$ are taken over:

| name | over | source |
|---|---|---|
| `"batch"` | one feature, all examples and positions of the batch | Ioffe & Szegedy 2015 |
| `"layer"` | one example, all features; of an image all its positions too | Ba, Kiros & Hinton 2016 |
| `"group"` | one example, a group of features and all positions | Wu & He 2018 |
| `"instance"` | one example and one feature, all positions | Ulyanov, Vedaldi & Lempitsky 2016 |
| `"rms"` | one example and position, all features, without $\mu$ | Zhang & Sennrich 2019 |
| `"power"` | one feature, all batches so far, without $\mu$: `power_norm.py` | Shen et al. 2020 |

For images layer norm is read in two ways. Here it is that of Wu & He (figure 2), over channels, height and width, which
is group norm with one group; ConvNeXt's is over the channels of each pixel.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.nn.knobs import check_choice, check_count
from thalweg.nn.power_norm import PowerNorm

CENTERED = ("batch", "instance")
"""Norms that take each feature's mean away, and so make a bias right before them idle."""
MOST_GROUPS, LEAST_IN_GROUP = 32, 8


class Turned(nn.Module):
    """A norm that finds features along another axis than the input has them: that axis is moved, and moved back.

    >>> import torch
    >>> Turned(nn.BatchNorm1d(5), axis=-1, to=1)(torch.randn(3, 7, 5)).shape
    torch.Size([3, 7, 5])
    """

    def __init__(self, norm: nn.Module, axis: int, to: int) -> None:
        super().__init__()
        self.norm, self.axis, self.to_axis = norm, axis, to

    @no_type_check
    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        output: Tensor = self.norm(x.movedim(self.axis, self.to_axis))
        return output.movedim(self.to_axis, self.axis)


def normalization(name: str, features: int, dims: int = 0) -> nn.Module:
    """The norm layer of that name for `features` features; `dims` says how many axes lie beside batch and features.

    0 is `(batch, features)`, 1 is `(batch, length, features)`, 2 is `(batch, features, height, width)`, and the shape
    stays. A group has at least 8 features, and there are at most 32 groups. Instance norm of a single position is
    always 0: it is refused for `dims=0`, and torch refuses images of one pixel in training. Raises `RecipeError`.

    >>> normalization("rms", 16), normalization("layer", 16, dims=2)
    (RMSNorm((16,), eps=None, elementwise_affine=True), GroupNorm(1, 16, eps=1e-05, affine=True...))
    >>> normalization("group", 48, dims=2).num_groups
    6
    """
    check_count("normalization", "features", features)
    check_choice("normalization", "name", name, NORMS)
    if dims not in (0, 1, 2):
        raise RecipeError(
            f"normalization: dims is {dims!r}, but it is 0 for (batch, features), 1 for (batch, length, features), or "
            "2 for images (batch, features, height, width)."
        )
    return NORMS[name](features, dims)


def groups_of(features: int) -> int:
    """The most groups of one size that have at least 8 features each, and no more than 32 of them; at least one.

    >>> [groups_of(features) for features in (5, 16, 24, 1024)]
    [1, 2, 3, 32]
    """
    most = max(1, min(MOST_GROUPS, features // LEAST_IN_GROUP))
    return next(groups for groups in range(most, 0, -1) if features % groups == 0)


def _batch(features: int, dims: int) -> nn.Module:
    norm = nn.BatchNorm2d(features) if dims == 2 else nn.BatchNorm1d(features)
    return Turned(norm, axis=-1, to=1) if dims == 1 else norm


def _layer(features: int, dims: int) -> nn.Module:
    return nn.GroupNorm(1, features) if dims == 2 else nn.LayerNorm(features)


def _group(features: int, dims: int) -> nn.Module:
    norm = nn.GroupNorm(groups_of(features), features)
    return Turned(norm, axis=-1, to=1) if dims == 1 else norm


def _instance(features: int, dims: int) -> nn.Module:
    if dims == 0:
        raise RecipeError(
            "normalization: 'instance' is over the positions of one example, and (batch, features) has none, so that "
            "all would be 0. Use 'layer'."
        )
    if dims == 1:
        return Turned(nn.InstanceNorm1d(features, affine=True), axis=-1, to=1)
    return nn.InstanceNorm2d(features, affine=True)


def _rms(features: int, dims: int) -> nn.Module:
    norm = nn.RMSNorm(features)
    return Turned(norm, axis=1, to=-1) if dims == 2 else norm


def _power(features: int, dims: int) -> nn.Module:
    return PowerNorm(features, axis=1 if dims == 2 else -1)


NORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "batch": _batch,
    "layer": _layer,
    "group": _group,
    "instance": _instance,
    "rms": _rms,
    "power": _power,
}
