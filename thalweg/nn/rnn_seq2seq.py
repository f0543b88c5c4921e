r"""A recurrent encoder and decoder with attention: one sequence in, another out.

    source -> recurrent layers in both directions -> memory
    h_t = cell([y_{t-1}; s_{t-1}], h_{t-1}),   c_t = attention(h_t, memory),   s_t = tanh(W [h_t; c_t]),   scores V s_t

The encoder and the additive attention are those of Bahdanau, Cho & Bengio (2015); that $s_t$ is part of the next input,
so that the decoder knows where it looked, is the input feeding of Luong, Pham & Manning, "Effective Approaches to
Attention-based Neural Machine Translation" (2015, section 3.3). The decoder begins with what the encoder ended with, by
a linear map. With `copying` the attention also says what is copied (`thalweg.nn.copying`), as in See et al. (2017).
Where targets are trees over the words of the source, the decoder is also given what stands where it is in the source
(`thalweg.nn.tree_reader`), in the input of the cell and beside $c_t$.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.nest import map_tensors
from thalweg.core.tokens import UNKNOWN
from thalweg.nn.additive_attention import AdditiveAttention, DotAttention, Read
from thalweg.nn.copying import Copies, Gate, check_copies, copies_of, mixture, with_a_place
from thalweg.nn.embedding import TokenEmbedding
from thalweg.nn.knobs import check_choice, check_count, check_dropout
from thalweg.nn.location_attention import LocationAttention
from thalweg.nn.masks import lengths_of, present, without_padding
from thalweg.nn.monotonic_attention import ChunkwiseAttention, MonotonicAttention
from thalweg.nn.recurrent import LAYERS, Recurrent
from thalweg.nn.recurrent_states import Decoding, Running, Step
from thalweg.nn.stacking import stacked
from thalweg.nn.tree_reader import TreeReader
from thalweg.nn.word_features import vectors_of_words

CELLS: dict[str, Callable[[int, int], nn.Module]] = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
ATTENTIONS: dict[str, Callable[..., nn.Module]] = {
    "additive": AdditiveAttention,
    "dot": DotAttention,
    "location": LocationAttention,
    "cumulative": partial(LocationAttention, cumulative=True),
    "monotonic": MonotonicAttention,
    "chunkwise": ChunkwiseAttention,
}
"""By content alone; by where it looked too, at the step before or so far; forward alone, to a position or a chunk."""


class RecurrentSeq2Seq(nn.Module):
    """A recurrent encoder and decoder: `model(source, lengths, prefix) -> (batch, length, tokens)`.

    Made by `rnn_seq2seq`. What comes out where the prefix is padded is that of zeros. `attention` is a module as
    `thalweg.nn.additive_attention` describes, `gate` copies (None: nothing is copied), `reader` says where in the
    source a tree stands (None: nothing does), and `stack` neighbours of the source are read as one position
    (`thalweg.nn.stacking`). `maps` shows where in the source each token came from. Raises `RecipeError` for copies that
    it has no use for, or lacks.

    >>> model = rnn_seq2seq(9, vocabulary=7, width=8)
    >>> x = {"source": torch.tensor([[4, 5, 6], [6, 0, 0]]), "lengths": torch.tensor([3, 1])}
    >>> model(**x, prefix=torch.tensor([[2, 7], [2, 0]])).shape
    torch.Size([2, 2, 9])
    >>> scores, state = model.step(model.encode(**x), torch.tensor([2, 2]))
    >>> scores.shape
    torch.Size([2, 9])
    """

    recurrent = True

    def __init__(
        self,
        encoder: Recurrent,
        embedding: TokenEmbedding,
        cells: list[nn.Module],
        attention: nn.Module,
        output: nn.Linear,
        *,
        gate: Gate | None = None,
        reader: TreeReader | None = None,
        dropout: float = 0.0,
        stack: int = 1,
    ) -> None:
        super().__init__()
        self.stack = stack
        width, memory = output.in_features, 2 * encoder.layers.hidden_size
        self.encoder, self.embedding = encoder, embedding
        self.attention: Any = attention
        self.bridge, self.cells = nn.Linear(memory, width * len(cells)), nn.ModuleList(cells)
        self.reader = reader
        read = 0 if reader is None else reader.features
        self.joint, self.output, self.gate = nn.Linear(width + memory + read, width), output, gate
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    @no_type_check
    def forward(
        self,
        source: Shaped[Tensor, "batch source ..."],
        lengths: Int[Tensor, " batch"] | None,
        prefix: Int[Tensor, "batch length"],
        copies: Int[Tensor, "batch source"] | None = None,
    ) -> Float[Tensor, "batch length tokens"]:
        """The scores of what comes after each token of the prefix; log-probabilities where the model copies."""
        return self.aligned(source, lengths, prefix, copies)[0]

    @no_type_check
    def aligned(
        self,
        source: Shaped[Tensor, "batch source ..."],
        lengths: Int[Tensor, " batch"] | None,
        prefix: Int[Tensor, "batch length"],
        copies: Int[Tensor, "batch source"] | None = None,
    ) -> tuple[
        Float[Tensor, "batch length tokens"], Float[Tensor, "batch length source"], Bool[Tensor, "batch source"]
    ]:
        """The scores, where in the source each step looked, and what of the source is no padding."""
        state, found, fed = self._followed(source, lengths, prefix, copies)
        there = present(lengths_of(prefix), prefix.shape[1])[..., None]
        scores = self._scored(fed.masked_fill(~there, 0.0), found, state.copies)
        width = -(-source.shape[1] // self.stack)
        return scores, found.weights[..., :width].masked_fill(~there, 0.0), state.memory.there[:, :width]

    @no_type_check
    def encode(
        self,
        source: Shaped[Tensor, "batch source ..."],
        lengths: Int[Tensor, " batch"] | None = None,
        copies: Int[Tensor, "batch source"] | None = None,
    ) -> Decoding:
        """The state before the first token."""
        state = self._begun(source, lengths, copies)
        return state if state.copies is None else state._replace(copies=state.copies.for_decoding())

    @no_type_check
    def step(self, state: Decoding, tokens: Int[Tensor, " row"]) -> tuple[Float[Tensor, "row tokens"], Decoding]:
        """The scores of what comes after one more token of each row, and the state after it."""
        running = state.running
        if self.reader is not None:
            running = running._replace(standing=self.reader.after(running.standing, tokens))
        read = None if self.reader is None else self.reader.read(state.memory.values, running.standing)
        running, found = self._next(state.memory, running, self._embedded(tokens[:, None])[:, 0], read)
        batch = len(state.memory.values)
        fed, parts = map_tensors(lambda tensor: tensor.unflatten(0, (batch, -1)), (running.fed, found))
        scores = self._scored(fed, parts, state.copies)
        return scores.flatten(0, 1), state._replace(running=running, found=found)

    def spread(self, state: Decoding, beams: int, longest: int) -> Decoding:
        """The state with `beams` rows for each example; the source is there once."""
        running = map_tensors(lambda tensor: tensor.repeat_interleave(beams, 0), state.running)
        return state._replace(running=running)

    def follow(self, state: Decoding, rows: Int[Tensor, " row"]) -> Decoding:
        """The state of these rows, each of which goes on from one of its own example."""
        before, batch = len(state.running.fed), len(state.memory.values)
        running = map_tensors(lambda tensor: tensor.index_select(0, rows), state.running)
        if len(rows) == before:
            return state._replace(running=running)
        beams = before // batch
        examples = rows[::beams] // beams
        kept = (state.memory, state.copies)
        memory, copies = map_tensors(lambda tensor: tensor.index_select(0, examples), kept)
        return Decoding(memory, copies, running)

    def attended(self, state: Decoding) -> tuple[Float[Tensor, "row source"], Bool[Tensor, "row source"]]:
        """Where in the source the last step looked, and what is no padding."""
        assert state.found is not None, "no step was made"
        rows = len(state.found.weights) // len(state.memory.there)
        return state.found.weights, state.memory.there.repeat_interleave(rows, 0)

    @no_type_check
    def maps(
        self,
        source: Shaped[Tensor, "batch source ..."],
        lengths: Int[Tensor, " batch"] | None,
        prefix: Int[Tensor, "batch length"],
        copies: Int[Tensor, "batch source"] | None = None,
    ) -> list[Float[Tensor, "batch 1 length source"]]:
        """Where in the source each step looked, as of one layer with one head; 0 at padding."""
        return [self.aligned(source, lengths, prefix, copies)[1][:, None]]

    @no_type_check
    def copied(
        self,
        source: Shaped[Tensor, "batch source ..."],
        lengths: Int[Tensor, " batch"] | None,
        prefix: Int[Tensor, "batch length"],
        copies: Int[Tensor, "batch source"],
    ) -> tuple[Float[Tensor, "batch length source"], Float[Tensor, "batch length"]]:
        """Where in the source a copy after each token would come from, and the probability that it is no copy."""
        if self.gate is None:
            raise RecipeError("This RecurrentSeq2Seq copies nothing. Build it with copying=True.")
        _, found, _ = self._followed(source, lengths, prefix, copies)
        return found.weights[..., : source.shape[1]], self._gate_of(found).sigmoid()

    @property
    def _known(self) -> int:
        return self.embedding.table.num_embeddings

    def _embedded(self, tokens: Any) -> Tensor:
        if self.gate is not None:
            tokens = tokens.masked_fill(tokens >= self._known, UNKNOWN)
        output: Tensor = self.dropout(self.embedding(tokens))
        return output

    def _begun(self, source: Any, lengths: Any, copies: Any) -> Decoding:
        """The state before the first token, as training has it."""
        check_copies(self.gate is not None, copies)
        if isinstance(source, Tensor) and source.dim() > 1 and source.shape[1] == 0:
            source, lengths, copies = with_a_place(source, copies)
        if self.stack > 1 and source.dim() == 3:  # what else it may be, the encoder refuses
            source, lengths = stacked(source, lengths, self.stack)
        values, last = self.encoder.states(without_padding(source, lengths), lengths)
        memory = self.attention.read(self.dropout(without_padding(values, lengths)), lengths)
        hidden = torch.tanh(self.bridge(last)).chunk(len(self.cells), 1)
        cells = [(each, torch.zeros_like(each)) if isinstance(cell, nn.LSTMCell) else each
                 for each, cell in zip(hidden, self.cells, strict=True)]  # fmt: skip
        standing = () if self.reader is None else self.reader.begin(memory.values)
        running = Running(cells, torch.zeros_like(hidden[0]), self.attention.begin(memory), standing)
        known = None if self.gate is None else copies_of(copies, self._known, tuple(values.shape[:2]))
        return Decoding(memory, known, running)

    def _followed(self, source: Any, lengths: Any, prefix: Any, copies: Any) -> tuple[Decoding, Step, Tensor]:
        """The state before the first token, what all steps along a prefix found, and what each fed to the next."""
        state = self._begun(source, lengths, copies)
        running, found, fed = state.running, [], []
        steps: Any = [None] * prefix.shape[1]
        if self.reader is not None:
            steps = self.reader.along(state.memory.values, prefix).unbind(1)
        for embedded, read in zip(self._embedded(prefix).unbind(1), steps, strict=True):
            running, step = self._next(state.memory, running, embedded, read)
            found.append(step)
            fed.append(running.fed)
        return state, Step(*(torch.stack(parts, 1) for parts in zip(*found, strict=True))), torch.stack(fed, 1)

    def _next(self, memory: Read, running: Running, embedded: Tensor, read: Tensor | None) -> tuple[Running, Step]:
        """One step of all rows; `read` is what each is given of where it stands in the source."""
        given = [] if read is None else [read]
        x, hidden = torch.cat([embedded, running.fed, *given], 1), []
        for cell, before in zip(self.cells, running.hidden, strict=True):
            hidden.append(cell(x, before))
            x = hidden[-1][0] if isinstance(hidden[-1], tuple) else hidden[-1]
            x = self.dropout(x)
        context, weights, looking = self.attention(x, memory, running.looking)
        fed = self.dropout(torch.tanh(self.joint(torch.cat([x, context, *given], 1))))
        return Running(hidden, fed, looking, running.standing), Step(x, context, weights, embedded)

    def _gate_of(self, found: Step) -> Tensor:
        assert self.gate is not None
        logit: Tensor = self.gate(found.context, found.state, found.embedded)
        return logit

    def _scored(self, fed: Tensor, found: Step, copies: Copies | None) -> Tensor:
        scores: Tensor = self.output(fed)
        if copies is None:
            return scores
        return mixture(scores, self._gate_of(found), found.weights, copies)


@no_type_check
def rnn_seq2seq(
    outputs: int,
    *,
    vocabulary: int | None = None,
    inputs: int | None = None,
    width: int = 64,
    depth: int = 1,
    cell: str = "gru",
    attention: str = "additive",
    dropout: float = 0.0,
    copying: bool = False,
    chunk: int | None = None,
    stack: int = 1,
    places: int | None = None,
    word_dropout: float = 0.0,
    brackets: Sequence[int] | None = None,
) -> RecurrentSeq2Seq:
    """A recurrent encoder, in both directions, and decoder with attention, of `depth` layers of `width` units each.

    The target is tokens of a vocabulary of `outputs`; the source tokens `(batch, length)` of a `vocabulary`, or vectors
    `(batch, length, inputs)`. `cell` is "gru", "lstm" or "rnn". `attention` is by content
    ("additive", "dot"), also by where it looked before ("location", "cumulative"), or goes forward alone ("monotonic",
    "chunkwise", which reads `chunk` positions at once, 4 where that is None). `dropout` is before every layer but the
    encoder's first, and before the last. With `copying` the model takes `copies`, too, and gives
    log-probabilities of an extended vocabulary (`thalweg.nn.copying`). Of vectors, such as the frames of a recording,
    `stack` neighbours are read as one (`thalweg.nn.stacking`). With `places` beside the vocabulary the source is words
    with their letters, `(batch, length, 1 + letters)`, as `WordFeatures` reads them, which `word_dropout` is for.
    `brackets` are the tokens of trees over the positions of the source, as `TreeReader` takes them: the decoder is then
    given where it stands. Raises `RecipeError` for a knob out of its range.

    >>> x = {"source": torch.tensor([[4, 5, 6], [6, 0, 0]]), "lengths": torch.tensor([3, 0])}
    >>> model = rnn_seq2seq(9, vocabulary=7, width=16, cell="lstm", copying=True)
    >>> scores = model(**x, copies=torch.tensor([[4, 9, 6], [0, 0, 0]]), prefix=torch.tensor([[2, 9], [2, 0]]))
    >>> scores.shape, bool((scores.exp().sum(-1) - 1).abs().max() < 1e-5)
    (torch.Size([2, 2, 10]), True)
    """
    if (inputs is None) == (vocabulary is None):
        raise RecipeError(
            f"rnn_seq2seq: inputs is {inputs!r} and vocabulary is {vocabulary!r}, but it is one of them: give "
            "vocabulary= the number of the source's tokens, or inputs= the features of its positions."
        )
    knobs = {"outputs": outputs, "inputs": inputs, "vocabulary": vocabulary, "width": width, "depth": depth,
             "chunk": chunk, "stack": stack}  # fmt: skip
    for knob, value in knobs.items():
        if value is not None:
            check_count("rnn_seq2seq", knob, value, least=2 if knob in ("outputs", "vocabulary") else 1)
    check_choice("rnn_seq2seq", "cell", cell, LAYERS)
    check_choice("rnn_seq2seq", "attention", attention, ATTENTIONS)
    check_dropout("rnn_seq2seq", dropout)
    if chunk is not None and attention != "chunkwise":
        raise RecipeError(
            f'rnn_seq2seq: chunk is {chunk!r}, but attention is "{attention}", which reads no chunks. Give '
            'attention="chunkwise", or leave chunk out.'
        )
    if stack > 1 and (vocabulary is not None or copying):
        why = "a source of tokens" if vocabulary is not None else "copying, which takes one position at a time,"
        raise RecipeError(f"rnn_seq2seq: stack is {stack}, but {why} is not stacked. Leave stack out.")
    first = vectors_of_words("rnn_seq2seq", vocabulary, places, width=width, dropout=dropout, word_dropout=word_dropout)
    reader = None if brackets is None else TreeReader(brackets, 2 * width)
    given = 2 * width if reader is None else 2 * width + reader.features
    layers = LAYERS[cell](
        width if inputs is None else inputs * stack,
        width,
        depth,
        batch_first=True,
        bidirectional=True,
        dropout=dropout if depth > 1 else 0.0,
    )
    return RecurrentSeq2Seq(
        Recurrent(first, layers, nn.Identity(), "position"),
        TokenEmbedding(outputs, width),
        [CELLS[cell](given if layer == 0 else width, width) for layer in range(depth)],
        ATTENTIONS[attention](width, 2 * width, width, **({} if chunk is None else {"chunk": chunk})),
        nn.Linear(width, outputs),
        gate=Gate(2 * width, width, width) if copying else None,
        reader=reader,
        dropout=dropout,
        stack=stack,
    )
