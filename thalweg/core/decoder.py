r"""What decoding asks of a model: to read the inputs once, and to say token by token what may come next.

$$ p(y \mid x) = \prod_t p(y_t \mid x, y_{<t}) $$

`encode` reads $x$, and `step` gives the scores of $y_t$ after $y_{t-1}$; their log-softmax is $\log p$. Whatever a
model keeps of $x$ and of the tokens so far is its state. Greedy and beam search, samples, scheduled sampling and
rewards work on any model that has these two methods.

In training all steps are made at once: `model(**inputs, prefix=...)`, where the prefix is `START` and the target
without its `END`, gives the scores `(batch, length, tokens)` that the steps would.
"""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.core.nest import map_tensors


@runtime_checkable
class Decoder(Protocol):
    """A model that puts out a sequence token by token.

    Rows are hypotheses. There is one for each example after `encode`, and there may be several later; those of an
    example stand together.
    """

    def encode(self, **inputs: Any) -> Any:
        """The state before the first token; axis 0 of every tensor in it is the row.

        `inputs` are those of a batch without `prefix`, such as `source` and `lengths`.
        """

    def step(self, state: Any, tokens: Int[Tensor, " row"]) -> tuple[Float[Tensor, "row token"], Any]:
        """The scores of what comes after one more token of each row, and the state after it.

        The first token is `START`. A score is a logit or a log-probability, minus infinity for what cannot come; the
        state that came in is not read again.
        """


@runtime_checkable
class BeamDecoder(Decoder, Protocol):
    """A decoder that keeps its state in a form of its own while there are several rows for each example.

    One that does not have these methods is spread and followed by copies of all tensors of its state.
    """

    def spread(self, state: Any, beams: int, longest: int) -> Any:
        """The state after `encode` with `beams` rows for each example, of which `longest` tokens will be asked."""

    def follow(self, state: Any, rows: Int[Tensor, " row"]) -> Any:
        """The state of these rows in this order: each row goes on from one of its own example, or examples are gone.

        There are as many rows for each example as before.
        """


@runtime_checkable
class AttentiveDecoder(Decoder, Protocol):
    """A decoder that says how much the token it scores next attends to each position of the source."""

    def attended(self, state: Any) -> tuple[Float[Tensor, "row position"], Bool[Tensor, "row position"]]:
        """Of the state that `step` gave last: the weights, which sum to 1, and which positions are there.

        Where a model has several layers or heads, their mean or what it holds for the alignment.
        """


@runtime_checkable
class RecurrentDecoder(Decoder, Protocol):
    """A decoder that says `recurrent = True`: in training, too, it goes step by step, so that to be given its own
    outputs step by step costs it no more than all at once.
    """

    recurrent: bool


@runtime_checkable
class AlignedModel(Protocol):
    """A model that says, for a whole prefix, where in the source it looked at each step."""

    def aligned(
        self, **inputs: Any
    ) -> tuple[Float[Tensor, "batch length token"], Float[Tensor, "batch length source"], Bool[Tensor, "batch source"]]:
        """Its output, the weights of each position of the source, and which positions are there."""


def check_decoder(model: Any) -> None:
    """Refuse a model that cannot be decoded from.

    >>> import torch
    >>> check_decoder(torch.nn.Linear(3, 2))
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: Linear cannot be decoded from: it has no encode, no step. Give it encode(**inputs)
    -> state and step(state, tokens) -> (scores, state), as in thalweg.core.decoder.Decoder.

    Raises `RecipeError` naming what it lacks.
    """
    lacking = [name for name in ("encode", "step") if not callable(getattr(model, name, None))]
    if lacking:
        raise RecipeError(
            f"{type(model).__name__} cannot be decoded from: it has no {', no '.join(lacking)}. Give it "
            "encode(**inputs) -> state and step(state, tokens) -> (scores, state), as in thalweg.core.decoder.Decoder."
        )


def keeps_own_state(model: Any) -> bool:
    """Whether it is a `BeamDecoder`: asked at every step, where `isinstance` with a protocol would take 0.1 ms.

    >>> keeps_own_state(None)
    False
    """
    return callable(getattr(model, "spread", None)) and callable(getattr(model, "follow", None))


def is_attentive(model: Any) -> bool:
    """Whether it is an `AttentiveDecoder`.

    >>> is_attentive(None)
    False
    """
    return callable(getattr(model, "attended", None))


def is_recurrent(model: Any) -> bool:
    """Whether it is a `RecurrentDecoder` that says so.

    >>> is_recurrent(None)
    False
    """
    return getattr(model, "recurrent", False) is True


def spread(model: Any, state: Any, beams: int, longest: int) -> Any:
    """The state with `beams` rows for each example: the model's own way, or copies.

    >>> import torch
    >>> spread(None, {"memory": torch.tensor([[1.0], [2.0]])}, beams=2, longest=9)["memory"].flatten()
    tensor([1., 1., 2., 2.])
    """
    if keeps_own_state(model):
        return model.spread(state, beams, longest)
    return map_tensors(lambda tensor: tensor.repeat_interleave(beams, 0), state)


def follow(model: Any, state: Any, rows: Int[Tensor, " row"]) -> Any:
    """The state of these rows, in this order: the model's own way, or copies.

    >>> import torch
    >>> follow(None, (torch.tensor([5, 6, 7]),), torch.tensor([2, 2, 0]))
    (tensor([7, 7, 5]),)
    """
    if keeps_own_state(model):
        return model.follow(state, rows)
    return map_tensors(lambda tensor: tensor.index_select(0, rows), state)
