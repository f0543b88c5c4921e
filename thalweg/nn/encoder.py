r"""The Transformer's encoder: attention and a small network at each position, in turn, around a stream of vectors.

    input -> positions -> (multi-head self-attention -> add & norm -> feed-forward -> add & norm) x depth -> head

(Vaswani et al., "Attention Is All You Need", 2017, figure 1.) As there, with `order="post"`, a layer is
$x := \mathrm{norm}(x + F(x))$. With `order="pre"` it is $x := x + F(\mathrm{norm}(x))$ and one norm stands at the end:
the stream goes through untouched, and training needs no warm-up (Xiong et al. 2020). The input is an embedding of
tokens, a linear map of vectors, or one of an image's patches.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.nn.attention import MultiHeadAttention, check_heads
from thalweg.nn.embedding import PatchEmbedding, TokenEmbedding, VectorEmbedding
from thalweg.nn.knobs import check_choice, check_count, check_dropout
from thalweg.nn.masks import check_lengths, present, without_padding
from thalweg.nn.mlp import ACTIVATIONS
from thalweg.nn.pooling import POOLS, pool_over
from thalweg.nn.positions import ADDED, ATTENDED, added
from thalweg.nn.sequence_norm import SEQUENCE_NORMS, SequenceNorm
from thalweg.nn.sixteen_bits import by_float
from thalweg.nn.word_features import WordFeatures, check_places

Stream = Float[Tensor, "batch length width"]
Mask = Bool[Tensor, "#batch #heads #query key"]


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each with a link around it: `(batch, length, width)` in and out.

    `feed_forward` is the width inside (4 x `width` unless given), `norm` "layer", "batch", "power" or "rms", `order`
    "pre" or "post"; `dropout` silences weights of attention, hidden units, and what both add to the stream.
    `positions`, `window` and `causal` are those of `MultiHeadAttention`. What comes out at padding has no meaning.
    Raises `RecipeError` for a knob out of its range.

    >>> import torch
    >>> EncoderLayer(16, heads=4)(torch.randn(2, 7, 16), torch.tensor([7, 3])).shape
    torch.Size([2, 7, 16])
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        feed_forward: int | None = None,
        norm: str = "layer",
        order: str = "pre",
        positions: str | None = None,
        window: int | None = None,
        causal: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("EncoderLayer", "norm", norm, SEQUENCE_NORMS)
        check_choice("EncoderLayer", "order", order, ("pre", "post"))
        self.order = order
        self.attention = MultiHeadAttention(
            width, heads, positions=positions, window=window, causal=causal, dropout=dropout
        )
        self.feed_forward = feed_forward_of("EncoderLayer", width, feed_forward, activation, dropout)
        self.first_norm, self.second_norm = SequenceNorm(norm, width), SequenceNorm(norm, width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def extra_repr(self) -> str:
        return f"order={self.order!r}"

    def forward(self, x: Stream, lengths: Tensor | None = None, *, mask: Mask | None = None) -> Stream:
        """The stream after the layer."""
        with by_float(x):
            return self._layer(x, lengths, mask)

    def _layer(self, x: Tensor, lengths: Tensor | None, mask: Tensor | None) -> Tensor:
        first, second = self.first_norm, self.second_norm
        there = None if lengths is None else present(lengths, x.shape[1])
        if self.order == "pre":
            x = x + self.dropout(self.attention(first(x, there), lengths, mask=mask))
            return x + self.dropout(self.feed_forward(second(x, there)))
        x = first(x + self.dropout(self.attention(x, lengths, mask=mask)), there)
        output: Tensor = second(x + self.dropout(self.feed_forward(x)), there)
        return output

    def maps(
        self, x: Stream, lengths: Tensor | None = None, *, mask: Mask | None = None
    ) -> Float[Tensor, "batch heads query key"]:
        """The attention maps of the layer, for the stream that comes into it."""
        if self.order == "pre":
            x = self.first_norm(x, None if lengths is None else present(lengths, x.shape[1]))
        output: Tensor = self.attention.attention(x, lengths, mask=mask)
        return output


def feed_forward_of(owner: str, width: int, hidden: int | None, activation: str, dropout: float) -> nn.Sequential:
    """The network at each position: `width` features to `hidden` (4 x `width` unless given) and back.

    >>> feed_forward_of("EncoderLayer", 8, None, "relu", 0.0)[0]
    Linear(in_features=8, out_features=32, bias=True)
    """
    hidden = 4 * width if hidden is None else hidden
    check_count(owner, "feed_forward", hidden)
    check_choice(owner, "activation", activation, ACTIVATIONS)
    inner: list[nn.Module] = [nn.Linear(width, hidden), ACTIVATIONS[activation]()]
    inner += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*inner, nn.Linear(hidden, width))


class Encoder(nn.Module):
    """Layers between an input and a head: `model(values, lengths) -> (batch, outputs)`, or outputs at each position.

    `embedding` makes `(batch, length, width)` of the values, `positions` adds them (None: nothing), `norm` is the last
    one (None: none), and `head` takes what `pool` makes of the positions, "mean", "last", "first" or "max"; where that
    is None it is applied at each position, and padding gives 0. `encode` gives the vectors before the head, 0 at
    padding, and `maps` what each layer looked at. A sequence without positions gives what the head makes of zeros.
    `encoder` builds one by name. Raises `RecipeError` for another pool and for lengths that are not `(batch,)` whole
    numbers.

    >>> import torch
    >>> model = Encoder(nn.Embedding(10, 8), [EncoderLayer(8, 2)], nn.Linear(8, 3))
    >>> model(torch.tensor([[4, 5, 6], [7, 0, 0]]), torch.tensor([3, 1])).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        embedding: nn.Module,
        layers: Sequence[nn.Module],
        head: nn.Module,
        *,
        positions: nn.Module | None = None,
        norm: nn.Module | None = None,
        pool: str | None = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("Encoder", "pool", pool, (*POOLS, None))
        check_dropout("Encoder", dropout)
        self.embedding = embedding
        self.positions = nn.Identity() if positions is None else positions
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.layers = nn.ModuleList(layers)
        self.norm, self.head, self.pool = norm, head, pool

    @no_type_check
    def forward(
        self, values: Shaped[Tensor, "batch ..."], lengths: Tensor | None = None, *, mask: Mask | None = None
    ) -> Float[Tensor, "batch ... outputs"]:
        """The outputs, of each sequence or of each position."""
        stream = self.encode(values, lengths, mask=mask)
        if self.pool is not None:
            output: Tensor = self.head(pool_over(self.pool, stream, lengths))
            return output
        return without_padding(self.head(stream), lengths)

    @no_type_check
    def encode(
        self, values: Shaped[Tensor, "batch ..."], lengths: Tensor | None = None, *, mask: Mask | None = None
    ) -> Stream:
        """A vector for each position that knows of all others, 0 at padding."""
        stream = self._embedded(values, lengths)
        for layer in self.layers:
            stream = layer(stream, lengths, mask=mask)
        if self.norm is not None:
            stream = self.norm(stream, None if lengths is None else present(lengths, stream.shape[1]))
        return without_padding(stream, lengths)

    @no_type_check
    def maps(
        self, values: Shaped[Tensor, "batch ..."], lengths: Tensor | None = None, *, mask: Mask | None = None
    ) -> list[Float[Tensor, "batch heads query key"]]:
        """The attention maps of every layer; each row sums to 1, and is 0 at padding. Meant for evaluation mode."""
        stream, found = self._embedded(values, lengths), []
        for layer in self.layers:
            maps: Any = layer.maps
            found.append(maps(stream, lengths, mask=mask))
            stream = layer(stream, lengths, mask=mask)
        return found

    def _embedded(self, values: Any, lengths: Any) -> Tensor:
        if lengths is not None and isinstance(values, Tensor):
            check_lengths("Encoder", lengths, len(values))
            if values.dim() in (2, 3):  # tokens and vectors; what stands in the padding would reach gradients
                values = without_padding(values, lengths)
        stream = self.embedding(values)
        output: Tensor = self.dropout(self.positions(without_padding(stream, lengths)))
        return output


def encoder(
    outputs: int,
    *,
    inputs: int | None = None,
    vocabulary: int | None = None,
    patch: int | None = None,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    feed_forward: int | None = None,
    norm: str = "layer",
    order: str = "pre",
    positions: str | None = "sinusoidal",
    length: int = 512,
    window: int | None = None,
    causal: bool = False,
    activation: str = "relu",
    dropout: float = 0.0,
    head: str = "sequence",
    pool: str = "mean",
    places: int | None = None,
    word_dropout: float = 0.0,
) -> Encoder:
    """A Transformer encoder `model(values, lengths) -> (batch, outputs)` of `depth` layers of `width` features.

    Give one of `vocabulary`, for tokens `(batch, length)`, and `inputs`, for vectors `(batch, length, inputs)`;
    `inputs` with `patch` is for images `(batch, inputs, height, width)`, cut into patches of `patch` x `patch` pixels.
    `lengths` may be left out where there is no padding. With `places` beside the vocabulary tokens are words with their
    letters, `(batch, length, 1 + letters)`, as `WordFeatures` reads them, which `word_dropout` is for.

    `positions` are "sinusoidal", "learned" (for sequences of at most `length`), "relative", "rotary" or None; `norm`,
    `order`, `feed_forward`, `window`, `causal`, `activation` and `dropout` are those of `EncoderLayer`. `head`
    "sequence" gives outputs for the sequence, by the "mean", "max", "first" or "last" of its positions (`pool`);
    "position" gives `(batch, length, outputs)`, 0 at padding. Raises `RecipeError` for a knob out of its range.

    >>> import torch
    >>> tokens, lengths = torch.tensor([[4, 5, 6, 7], [8, 9, 0, 0]]), torch.tensor([4, 2])
    >>> encoder(3, vocabulary=10, width=16)(tokens, lengths).shape
    torch.Size([2, 3])
    >>> encoder(3, vocabulary=10, width=16, head="position", causal=True)(tokens, lengths).shape
    torch.Size([2, 4, 3])
    >>> encoder(10, inputs=1, patch=4, width=16)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    check_count("encoder", "outputs", outputs)
    check_count("encoder", "depth", depth, least=0)
    for knob, value, options in (
        ("positions", positions, (*ADDED, *ATTENDED, None)), ("norm", norm, SEQUENCE_NORMS),
        ("order", order, ("pre", "post")), ("head", head, ("sequence", "position")), ("pool", pool, POOLS),
    ):  # fmt: skip
        check_choice("encoder", knob, value, options)
    attended = positions if positions in ATTENDED else None
    check_heads("encoder", width, heads, attended)
    check_places("encoder", vocabulary, places, word_dropout)
    knobs: dict[str, Any] = {
        "feed_forward": feed_forward, "norm": norm, "order": order, "positions": attended,
        "window": window, "causal": causal, "activation": activation, "dropout": dropout,
    }  # fmt: skip
    layers = [EncoderLayer(width, heads, **knobs) for _ in range(depth)]
    return Encoder(
        _embedding(inputs, vocabulary, patch, width, places, word_dropout),
        layers,
        nn.Linear(width, outputs),
        positions=added(positions, length, width),
        norm=SequenceNorm(norm, width) if order == "pre" else None,
        pool=pool if head == "sequence" else None,
        dropout=dropout,
    )


def _embedding(
    inputs: int | None, vocabulary: int | None, patch: int | None, width: int, places: int | None, word_dropout: float
) -> nn.Module:
    if (inputs is None) == (vocabulary is None) or (patch is not None and inputs is None):
        raise RecipeError(
            f"encoder: inputs is {inputs!r}, vocabulary {vocabulary!r} and patch {patch!r}, but it takes tokens, "
            "vectors or images. Give vocabulary= the number of tokens, inputs= the features of a position, or "
            "inputs= the channels and patch= the side of a patch."
        )
    if vocabulary is not None and places is not None:
        return WordFeatures(vocabulary, places, width=width, word_dropout=word_dropout)
    if vocabulary is not None:
        return TokenEmbedding(vocabulary, width)
    assert inputs is not None
    return VectorEmbedding(inputs, width) if patch is None else PatchEmbedding(inputs, width, patch)
