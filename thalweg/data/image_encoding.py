r"""The encoding of images: size, channels and classes that training settled, and the statistics of its training images.

A value $v$ of channel $c$, a byte of 0 to 255 or a number in [0, 1], becomes $(v' - m_c) / s_c$, where $v'$ is $v$
brought to [0, 1], and $m_c$ and $s_c$ are the mean and the standard deviation of the channel over all pixels of the
training images. A channel that is the same everywhere becomes 0.
"""

from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from thalweg.data.encoded_target import EncodedTarget
from thalweg.data.encoding import numbers_of
from thalweg.data.schema import Target, TargetKind, target_from_json
from thalweg.data.targets import TargetValues

Images = Shaped[Tensor, "image channel height width"]
"""Bytes, or numbers in [0, 1]."""


@dataclass(frozen=True)
class ImageSchema:
    """What an image is brought to, `layout` is (channels, height, width); what is predicted; who stays together.

    `limit` is the number of megapixels beyond which an image is not decoded, `header` whether a table of paths names
    its columns.

    >>> target = Target(("class",), TargetKind.CLASSES, ("cat", "dog"))
    >>> schema = ImageSchema((3, 32, 48), target)
    >>> ImageSchema.from_json(schema.to_json()) == schema
    True
    """

    layout: tuple[int, int, int]
    target: Target
    group: str | None = None
    time: str | None = None
    limit: float = 50.0
    header: bool = True
    weights: None = None

    @property
    def channels(self) -> int:
        """1 for gray, 3 for red, green and blue."""
        return self.layout[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.layout[1:]

    def to_json(self) -> dict[str, Any]:
        """The schema in plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "ImageSchema":
        """The schema that `to_json` wrote.

        Raises `ValueError` for a layout that is none.
        """
        layout = plain["layout"]
        whole = isinstance(layout, list | tuple) and len(layout) == 3 and all(type(n) is int and n > 0 for n in layout)
        if not whole or layout[0] not in (1, 3):
            raise ValueError(f"'layout' is {str(layout)[:40]}, but it is (channels, height, width), channels 1 or 3")
        target = target_from_json(plain["target"])
        return cls(tuple(layout), target, plain["group"], plain["time"], float(plain["limit"]), bool(plain["header"]))


@dataclass(frozen=True)
class ImageEncoding(EncodedTarget):
    """A schema with the statistics of the images that were trained on: all that prediction needs.

    >>> schema = ImageSchema((1, 1, 2), Target(("class",), TargetKind.CLASSES, ("cat", "dog")))
    >>> encoding = ImageEncoding(schema, (0.2,), (0.4,))
    >>> encoding.encode(torch.tensor([[[[51, 255]]]], dtype=torch.uint8))
    tensor([[[[0., 2.]]]])
    >>> ImageEncoding.from_json(encoding.to_json()) == encoding
    True
    """

    schema: ImageSchema
    means: tuple[float, ...]
    scales: tuple[float, ...]
    target_means: tuple[float, ...] = ()
    target_scales: tuple[float, ...] = ()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of one example, `(channel, height, width)`."""
        return self.schema.layout

    @property
    def width(self) -> int:
        """How many inputs an example has."""
        return prod(self.schema.layout)

    def encode(self, images: Images) -> Float[Tensor, "image channel height width"]:
        """The inputs of images that are of this size and have these channels."""
        full = 1.0 if images.is_floating_point() else 255.0
        factor = [1 / (full * scale) if scale else 0.0 for scale in self.scales]
        offset = [-mean / scale if scale else 0.0 for mean, scale in zip(self.means, self.scales, strict=True)]
        by_channel = (len(factor), 1, 1)
        values = images.to(torch.get_default_dtype(), copy=True)
        return values.mul_(values.new_tensor(factor).view(by_channel)).add_(values.new_tensor(offset).view(by_channel))

    def encode_target(self, target: TargetValues) -> Shaped[Tensor, "image ..."]:
        """Targets: int64 classes, a distribution over classes, or scaled numbers `(image, d)`."""
        return self.encode_values(target)

    def to_json(self) -> dict[str, Any]:
        """The encoding in plain values, floats exact."""
        return {"kind": "images", **asdict(self)}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "ImageEncoding":
        """The encoding that `to_json` wrote, also after it went through a file.

        Raises `ValueError` for statistics that are not those of the schema's channels.
        """
        schema = ImageSchema.from_json(plain["schema"])
        targets = len(schema.target.names) if schema.target.kind is TargetKind.NUMBERS else 0
        counts = {"means": schema.channels, "scales": schema.channels, "target_means": targets}
        counts["target_scales"] = targets
        return cls(schema, **{name: numbers_of(name, plain[name], count) for name, count in counts.items()})
