r"""The Transformer: one sequence in, another out, by an encoder, and a decoder that looks at what it has made of it.

    source -> encoder -> memory
    START, y_1 ... -> (look back -> look at the memory -> feed-forward) x depth -> scores of y_1, y_2 ... END

(Vaswani et al., "Attention Is All You Need", 2017, figure 1.) In training all positions of the target go through at
once, each seeing those before it: `model(source, lengths, prefix)`. In decoding `encode` reads the source and `step`
gives the scores of the next token, with the keys and values of earlier steps kept (`thalweg.core.decoder`). With
`copying` what stands in the source may be put out as it is (`thalweg.nn.copying`).
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.nest import map_tensors
from thalweg.core.tokens import UNKNOWN
from thalweg.nn.attention import check_heads
from thalweg.nn.copying import Copies, Pointer, check_copies, copies_of, mixture, with_a_place
from thalweg.nn.decoder_layer import DecoderLayer, Memory
from thalweg.nn.decoder_step import LayerStep, Placed, norm_of_rows
from thalweg.nn.decoding_cache import Cache
from thalweg.nn.embedding import TokenEmbedding, VectorEmbedding
from thalweg.nn.encoder import Encoder, EncoderLayer
from thalweg.nn.knobs import check_choice, check_count
from thalweg.nn.light import Function, for_many_steps
from thalweg.nn.masks import lengths_of, padding_mask, present
from thalweg.nn.positions import ADDED, ATTENDED, added
from thalweg.nn.sequence_norm import SEQUENCE_NORMS, SequenceNorm
from thalweg.nn.word_features import WordFeatures, check_places

Scores = Float[Tensor, "batch length tokens"]


class Pointed(NamedTuple):
    """What is needed to copy: the memory, its keys, where there is a position, and what each is in the output."""

    memory: Tensor
    keys: Tensor
    mask: Tensor | None
    copies: Copies


class Steps(NamedTuple):
    """What all steps have in common: positions, layers, and how their stream becomes scores."""

    placed: Placed
    layers: list[LayerStep]
    norm: Function | None
    scores: Function


class Decoding(NamedTuple):
    """The state of a Transformer: what it read, what it put out, how it makes steps, and its last queries."""

    memory: Memory
    cache: Cache
    pointed: Pointed | None
    steps: Steps
    asked: Tensor | None = None


class Transformer(nn.Module):
    """An encoder and decoder: `model(source, lengths, prefix) -> (batch, length, tokens)`, made by `transformer`.

    `encoder.encode(source, lengths)` gives the memory, `embedding` and `positions` make vectors of tokens, `layers` are
    `DecoderLayer`s, `norm` is the last one (None: none), `output` is linear, and `pointer` copies (None: nothing is
    copied). What comes out where the prefix is padded is that of zeros. `maps` shows what each layer looked at in the
    source, `copied` what would be copied. Raises `RecipeError` for copies that it has no use for, or lacks.

    >>> import torch
    >>> model = transformer(9, vocabulary=7, width=8, heads=2)
    >>> x = {"source": torch.tensor([[4, 5, 6], [6, 0, 0]]), "lengths": torch.tensor([3, 1])}
    >>> model(**x, prefix=torch.tensor([[2, 7], [2, 0]])).shape
    torch.Size([2, 2, 9])
    >>> scores, state = model.step(model.encode(**x), torch.tensor([2, 2]))
    >>> scores.shape
    torch.Size([2, 9])
    """

    def __init__(
        self,
        encoder: Encoder,
        embedding: TokenEmbedding,
        layers: Sequence[DecoderLayer],
        output: nn.Linear,
        *,
        positions: nn.Module | None = None,
        norm: SequenceNorm | None = None,
        pointer: Pointer | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.embedding, self.positions = encoder, embedding, positions
        self.layers: Any = nn.ModuleList(layers)
        self.norm, self.output, self.pointer = norm, output, pointer
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    @no_type_check
    def forward(
        self,
        source: Shaped[Tensor, "batch source ..."],
        lengths: Int[Tensor, " batch"] | None,
        prefix: Int[Tensor, "batch length"],
        copies: Int[Tensor, "batch source"] | None = None,
    ) -> Scores:
        """The scores of what comes after each token of the prefix; log-probabilities where the model copies."""
        memory, lengths, pointed = self._read(source, lengths, copies)
        embedded = self._embedded(prefix)
        stream = self._decoded(embedded, prefix, memory, lengths)
        return self._scored(self.output(stream), stream, embedded, pointed)

    @no_type_check
    def encode(
        self,
        source: Shaped[Tensor, "batch source ..."],
        lengths: Int[Tensor, " batch"] | None = None,
        copies: Int[Tensor, "batch source"] | None = None,
    ) -> Decoding:
        """The state before the first token."""
        memory, lengths, pointed = self._read(source, lengths, copies)
        if pointed is not None:
            pointed = pointed._replace(copies=pointed.copies.for_decoding())
        kept = Memory.of(memory, lengths, [layer.cross for layer in self.layers])
        cache = Cache.empty(kept.layers[0][0][:, :, :0], len(self.layers))
        norm = None if self.norm is None else norm_of_rows(self.norm)
        layers = [LayerStep(layer) for layer in self.layers]
        return Decoding(kept, cache, pointed, Steps(Placed(self.positions), layers, norm, for_many_steps(self.output)))

    @no_type_check
    def step(self, state: Decoding, tokens: Int[Tensor, " row"]) -> tuple[Float[Tensor, "row tokens"], Decoding]:
        """The scores of what comes after one more token of each row, and the state after it."""
        cache, steps = state.cache.opened(), state.steps
        embedded = rows = self.dropout(steps.placed(self._vectors(tokens[:, None])[:, 0], cache.taken))
        for index, layer in enumerate(steps.layers):
            rows, asked = layer(rows, cache, index, state.memory)
        rows = rows if steps.norm is None else steps.norm(rows)
        scores = steps.scores(rows)
        if state.pointed is not None:
            of_beams = [part.unflatten(0, (-1, cache.beams)) for part in (scores, rows, embedded)]
            scores = self._scored(of_beams[0], of_beams[1], of_beams[2], state.pointed).flatten(0, 1)
        return scores, state._replace(cache=cache._replace(taken=cache.taken + 1), asked=asked)

    def attended(self, state: Decoding) -> tuple[Float[Tensor, "row source"], Bool[Tensor, "row source"]]:
        """What the last step looked at in the source, the mean of the last layer's heads, and what is no padding."""
        assert state.asked is not None, "no step was made"
        return state.memory.attended(state.asked)

    def spread(self, state: Decoding, beams: int, longest: int) -> Decoding:
        """The state with `beams` rows for each example, with room for `longest` tokens."""
        return state._replace(cache=state.cache.spread(beams, longest))

    def follow(self, state: Decoding, rows: Int[Tensor, " row"]) -> Decoding:
        """The state of these rows, each of which goes on from one of its own example."""
        examples = state.cache.examples(rows)
        cache = state.cache.follow(rows)
        if examples is None:
            return state._replace(cache=cache)
        kept = (state.memory, state.pointed)
        memory, pointed = map_tensors(lambda tensor: tensor.index_select(0, examples), kept)
        return state._replace(memory=memory, pointed=pointed, cache=cache)

    @no_type_check
    def maps(
        self,
        source: Shaped[Tensor, "batch source ..."],
        lengths: Int[Tensor, " batch"] | None,
        prefix: Int[Tensor, "batch length"],
        copies: Int[Tensor, "batch source"] | None = None,
    ) -> list[Float[Tensor, "batch heads length source"]]:
        """What each layer looked at in the source after each token; each row sums to 1, and is 0 at padding."""
        memory, lengths, _ = self._read(source, lengths, copies)
        stream, taken, found = self._embedded(prefix), lengths_of(prefix), []
        for layer in self.layers:
            found.append(layer.maps(stream, taken, memory, lengths)[..., : source.shape[1]])
            stream = layer(stream, taken, memory, lengths)
        return found

    @no_type_check
    def copied(
        self,
        source: Shaped[Tensor, "batch source ..."],
        lengths: Int[Tensor, " batch"] | None,
        prefix: Int[Tensor, "batch length"],
        copies: Int[Tensor, "batch source"],
    ) -> tuple[Float[Tensor, "batch length source"], Float[Tensor, "batch length"]]:
        """Where in the source a copy after each token would come from, and the probability that it is no copy."""
        memory, lengths, pointed = self._read(source, lengths, copies)
        if self.pointer is None or pointed is None:
            raise RecipeError("This Transformer copies nothing. Build it with copying=True.")
        embedded = self._embedded(prefix)
        stream = self._decoded(embedded, prefix, memory, lengths)
        weights, gate = self.pointer(stream, embedded, pointed.memory, pointed.keys, pointed.mask)
        return weights[..., : source.shape[1]], gate.sigmoid()

    def _read(self, source: Any, lengths: Any, copies: Any) -> tuple[Tensor, Tensor | None, Pointed | None]:
        """The memory, with at least one position, the lengths, and what is needed to copy."""
        check_copies(self.pointer is not None, copies)
        if isinstance(source, Tensor) and source.dim() > 1 and source.shape[1] == 0:
            source, lengths, copies = with_a_place(source, copies)
        memory = self.encoder.encode(source, lengths)
        if self.pointer is None:
            return memory, lengths, None
        mask = None if lengths is None else padding_mask(lengths, memory.shape[1])
        known = copies_of(copies, self.embedding.table.num_embeddings, tuple(memory.shape[:2]))
        return memory, lengths, Pointed(memory, self.pointer.keys(memory), mask, known)

    def _vectors(self, tokens: Any) -> Tensor:
        if self.pointer is not None:
            tokens = tokens.masked_fill(tokens >= self.embedding.table.num_embeddings, UNKNOWN)
        output: Tensor = self.embedding(tokens)
        return output

    def _embedded(self, tokens: Any) -> Tensor:
        vectors = self._vectors(tokens)
        output: Tensor = self.dropout(vectors if self.positions is None else self.positions(vectors))
        return output

    def _decoded(self, stream: Tensor, prefix: Tensor, memory: Tensor, lengths: Tensor | None) -> Tensor:
        """The stream after all layers, 0 at padding."""
        taken = lengths_of(prefix)
        there = present(taken, prefix.shape[1])
        for layer in self.layers:
            stream = layer(stream, taken, memory, lengths)
        stream = stream if self.norm is None else self.norm(stream, there)
        return stream.masked_fill(~there[..., None], 0.0)

    def _scored(self, scores: Tensor, stream: Tensor, embedded: Tensor, pointed: Pointed | None) -> Tensor:
        if self.pointer is None or pointed is None:
            return scores
        weights, gate = self.pointer(stream, embedded, pointed.memory, pointed.keys, pointed.mask)
        return mixture(scores, gate, weights, pointed.copies)


def transformer(
    outputs: int,
    *,
    vocabulary: int | None = None,
    inputs: int | None = None,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    feed_forward: int | None = None,
    norm: str = "layer",
    order: str = "pre",
    positions: str | None = "sinusoidal",
    length: int = 512,
    activation: str = "relu",
    dropout: float = 0.0,
    tied: str | None = "output",
    copying: bool = False,
    places: int | None = None,
    word_dropout: float = 0.0,
) -> Transformer:
    """A Transformer of `depth` layers of `width` features in the encoder, and as many in the decoder.

    The target is tokens of a vocabulary of `outputs`; the source tokens `(batch, length)` of a `vocabulary`, or vectors
    `(batch, length, inputs)`, such as the frames of a recording. `heads`, `feed_forward`, `norm`, `order`,
    `activation` and `dropout` are those of `EncoderLayer`. `positions`, of source and target, are "sinusoidal",
    "learned" (for at most `length` of them), "relative", "rotary" or None; what is put out begins with one that is no
    token, START.

    `tied` is which tables of vectors are one: "output", those of the tokens that go into the decoder and come out; with
    "all" also the source's, which then has the same vocabulary; or None. With `copying` the model takes `copies`, too,
    and gives log-probabilities of an extended vocabulary (`thalweg.nn.copying`). With `places` beside the vocabulary
    the source is words with their letters, `(batch, length, 1 + letters)`, as `WordFeatures` reads them, which
    `word_dropout` is for. Raises `RecipeError` for a knob out of its range.

    >>> import torch
    >>> x = {"source": torch.tensor([[4, 5, 6], [6, 0, 0]]), "lengths": torch.tensor([3, 1])}
    >>> copies = torch.tensor([[4, 9, 6], [9, 0, 0]])  # one unit of each is not among the target's tokens
    >>> model = transformer(9, vocabulary=7, width=16, positions="rotary", copying=True)
    >>> scores = model(**x, copies=copies, prefix=torch.tensor([[2, 9, 8], [2, 0, 0]]))
    >>> scores.shape, bool((scores.exp().sum(-1) - 1).abs().max() < 1e-5)
    (torch.Size([2, 3, 10]), True)
    """
    check_count("transformer", "depth", depth)
    for knob, value, options in (
        ("positions", positions, (*ADDED, *ATTENDED, None)), ("norm", norm, SEQUENCE_NORMS),
        ("order", order, ("pre", "post")), ("tied", tied, ("output", "all", None)),
    ):  # fmt: skip
        check_choice("transformer", knob, value, options)
    attended = positions if positions in ATTENDED else None
    check_heads("transformer", width, heads, attended)
    knobs: dict[str, Any] = {
        "feed_forward": feed_forward, "norm": norm, "order": order, "positions": attended,
        "activation": activation, "dropout": dropout,
    }  # fmt: skip
    last = partial(SequenceNorm, norm, width) if order == "pre" else lambda: None
    check_places("transformer", vocabulary, places, word_dropout)
    source, target, output = _tables(outputs, vocabulary, inputs, width, tied, places)
    if vocabulary is not None and places is not None:
        source = WordFeatures(vocabulary, places, width=width, word_dropout=word_dropout)
    encoder = Encoder(
        source,
        [EncoderLayer(width, heads, **knobs) for _ in range(depth)],
        nn.Identity(),
        positions=added(positions, length, width),
        norm=last(),
        pool=None,
        dropout=dropout,
    )
    return Transformer(
        encoder,
        target,
        [DecoderLayer(width, heads, **knobs) for _ in range(depth)],
        output,
        positions=added(positions, length, width),
        norm=last(),
        pointer=Pointer(width) if copying else None,
        dropout=dropout,
    )


def _tables(
    outputs: int, vocabulary: int | None, inputs: int | None, width: int, tied: str | None, places: int | None
) -> tuple[nn.Module, TokenEmbedding, nn.Linear]:
    """What makes vectors of the source and of the target, and scores of vectors, as far as they are one."""
    check_count("transformer", "outputs", outputs, least=2)
    if (inputs is None) == (vocabulary is None):
        raise RecipeError(
            f"transformer: inputs is {inputs!r} and vocabulary is {vocabulary!r}, but it is one of them: give "
            "vocabulary= the number of the source's tokens, or inputs= the features of its positions."
        )
    if tied == "all" and vocabulary != outputs:
        raise RecipeError(
            f"transformer: tied is 'all', but the source has vocabulary={vocabulary} and the target outputs={outputs}. "
            "Give tied='output', or make one vocabulary of both."
        )
    if places is not None and tied == "all":
        raise RecipeError(
            f"transformer: tied is 'all', but with places={places} the source's words have letters, which the target's "
            "have not. Give tied='output', or leave places out."
        )
    target = TokenEmbedding(outputs, width, 1.0 if tied is None else math.sqrt(width))
    output = nn.Linear(width, outputs)
    if tied is not None:
        output.weight = target.table.weight
        nn.init.zeros_(output.bias)
    if inputs is not None:
        return VectorEmbedding(inputs, width), target, output
    assert vocabulary is not None
    return target if tied == "all" else TokenEmbedding(vocabulary, width), target, output
