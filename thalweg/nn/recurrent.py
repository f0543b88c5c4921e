r"""Recurrent networks: a state is handed from one position to the next, and is all that is known of what came before.

    rnn     h_t = tanh(W x_t + U h_{t-1} + b)                                    Elman 1990
    lstm    a cell beside the state, with gates for what is kept, added and shown    Hochreiter & Schmidhuber 1997
    gru     two gates, no cell                                                   Cho et al. 2014

The layers are torch's. Sequences of a batch are packed, so that padding is computed nowhere and changes nothing; a
sequence without any position leaves the state as it begins, zero.
"""

from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.nn.embedding import check_known, is_of
from thalweg.nn.knobs import check_choice, check_count, check_dropout
from thalweg.nn.masks import check_lengths, described
from thalweg.nn.word_features import WordFeatures, vectors_of_words

LAYERS: dict[str, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
HEADS = ("sequence", "position")


class Recurrent(nn.Module):
    """Recurrent layers and a linear one: `model(values, lengths)`, made by `rnn`.

    >>> model = Recurrent(nn.Identity(), nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2), "sequence")
    >>> model(torch.randn(5, 7, 3), torch.tensor([7, 7, 3, 1, 0])).shape
    torch.Size([5, 2])
    """

    def __init__(self, embedding: nn.Module, layers: nn.LSTM | nn.GRU | nn.RNN, output: nn.Module, head: str) -> None:
        super().__init__()
        self.embedding, self.layers, self.output, self.head = embedding, layers, output, head

    @no_type_check
    def forward(
        self, values: Shaped[Tensor, "batch length ..."], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch ... outputs"]:
        outputs, last = self.states(values, lengths)
        if self.head == "sequence":
            answer: Tensor = self.output(last)
            return answer
        answer = self.output(outputs)
        if lengths is None:
            return answer
        counts = torch.arange(values.shape[1], device=values.device) < lengths.to(values.device)[:, None]
        return answer.masked_fill(~counts[..., None], 0.0)

    @no_type_check
    def states(
        self, values: Shaped[Tensor, "batch length ..."], lengths: Int[Tensor, " batch"] | None = None
    ) -> tuple[Float[Tensor, "batch length states"], Float[Tensor, "batch states"]]:
        """The states of the last layer at every position, and those in which it ends (in both directions, if so).

        Those at padding have no meaning.
        """
        self._check(values, lengths)
        if lengths is None:
            lengths = torch.full((len(values),), values.shape[1])
        x, lengths = self.embedding(values), lengths.cpu()
        ways = 2 if self.layers.bidirectional else 1
        if 0 in x.shape[:2]:  # no position at all
            outputs = x.new_zeros(*x.shape[:2], ways * self.layers.hidden_size)
            return outputs, x.new_zeros(len(x), ways * self.layers.hidden_size)
        packed = pack_padded_sequence(x, lengths.clamp(min=1), batch_first=True, enforce_sorted=False)
        outputs, ends = self.layers(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
        ends = ends[0] if isinstance(ends, tuple) else ends
        last = torch.cat(list(ends[-ways:]), dim=1)
        return outputs, last.masked_fill((lengths == 0).to(last.device)[:, None], 0.0)

    def _check(self, values: Tensor, lengths: Any) -> None:
        embedding: Any = self.embedding
        words = isinstance(embedding, WordFeatures)  # which look at their values themselves
        tokens = isinstance(embedding, nn.Embedding)
        if tokens and not is_of(values, 2, whole=True):
            raise RecipeError(
                f"rnn was built with a vocabulary and given values that are {described(values)}, but tokens are whole "
                "numbers (batch, length). Build it with inputs= for vectors."
            )
        if tokens and values.device.type == "cpu":
            check_known(values, embedding.num_embeddings)
        inputs = self.layers.input_size
        if not (tokens or words) and (not is_of(values, 3) or values.shape[2] != inputs):
            raise RecipeError(
                f"rnn was built for {inputs} inputs at each position and given values that are {described(values)}, "
                f"but it takes floats (batch, length, {inputs}). Build it with vocabulary= for tokens."
            )
        if lengths is None:
            return
        check_lengths("rnn", lengths, len(values))
        if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= values.shape[1]:
            raise RecipeError(
                f"rnn: lengths go from {int(lengths.min())} to {int(lengths.max())}, but sequences have "
                f"{values.shape[1]} positions. Give how many of them count, padding apart."
            )


@no_type_check
def rnn(
    outputs: int,
    *,
    inputs: int | None = None,
    vocabulary: int | None = None,
    cell: str = "lstm",
    width: int = 64,
    depth: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    head: str = "sequence",
    places: int | None = None,
    word_dropout: float = 0.0,
) -> Recurrent:
    """A recurrent network of `depth` layers of `width` units, called `model(values, lengths)`.

    Values are tokens `(batch, length)` of a `vocabulary`, 0 being padding, or vectors `(batch, length, inputs)`; with
    `places` too they are words with their letters, `(batch, length, 1 + letters)`, as `WordFeatures` reads them, which
    `word_dropout` and `dropout` then go to as well.
    `lengths` says how many positions of each sequence count, all if it is left out. `cell` is "lstm", "gru" or "rnn".
    The `head` "sequence" gives `(batch, outputs)` from the last state (of both directions if `bidirectional`), zero for
    an empty sequence; "position" gives `(batch, length, outputs)`, zeros at padding. `dropout` is between layers and
    before the last. Raises `RecipeError` for a knob out of its range, and for values and lengths that do not fit, and
    `DataError` (on a CPU) for a token beyond the vocabulary.

    >>> tagger = rnn(17, vocabulary=100, cell="gru", bidirectional=True, head="position")
    >>> tagger(torch.randint(1, 100, (3, 9)), torch.tensor([9, 4, 0])).shape
    torch.Size([3, 9, 17])
    """
    if (inputs is None) == (vocabulary is None):
        raise RecipeError(
            f"rnn: inputs is {inputs!r} and vocabulary is {vocabulary!r}, but it is one of them: give vocabulary= for "
            "tokens, or inputs= for vectors at each position."
        )
    knobs = {"outputs": outputs, "inputs": inputs, "vocabulary": vocabulary, "width": width, "depth": depth}
    for knob, value in knobs.items():
        if value is not None:
            check_count("rnn", knob, value)
    check_choice("rnn", "cell", cell, LAYERS)
    check_choice("rnn", "head", head, HEADS)
    check_dropout("rnn", dropout)
    embedding = vectors_of_words("rnn", vocabulary, places, width=width, dropout=dropout, word_dropout=word_dropout)
    layers = LAYERS[cell](
        inputs or width, width, depth, batch_first=True, bidirectional=bidirectional,
        dropout=dropout if depth > 1 else 0.0,
    )  # fmt: skip
    last = nn.Linear(2 * width if bidirectional else width, outputs)
    return Recurrent(embedding, layers, nn.Sequential(nn.Dropout(dropout), last) if dropout else last, head)
