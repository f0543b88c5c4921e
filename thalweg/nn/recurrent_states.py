"""What goes from step to step of a recurrent decoder, and what a step found."""

from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from thalweg.nn.additive_attention import Read
from thalweg.nn.copying import Copies


class Running(NamedTuple):
    """What goes from step to step, each tensor with a row for each hypothesis."""

    hidden: list[Any]
    """Of each layer: a tensor, or that and the cell of an LSTM."""
    fed: Float[Tensor, "row width"]
    looking: Any
    """The attention's own."""
    standing: Any = ()
    """Where in its tree each row stands, of a model that reads trees."""


class Step(NamedTuple):
    """What a step found: the last layer's state, what was read, with which weights, and what was embedded."""

    state: Tensor
    context: Tensor
    weights: Tensor
    embedded: Tensor


class Decoding(NamedTuple):
    """The state: what was read, once for an example, and what is running, for each row."""

    memory: Read
    copies: Copies | None
    running: Running
    found: Step | None = None
