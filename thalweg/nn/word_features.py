r"""Words by what they are and by what their letters are: the sum of the embeddings of all that is known of a word.

$$ h = E_{w} + \frac{1}{\sqrt{k}} \sum_{j = 1}^k A_{a_j} $$

with the word's own row of $E$ and the rows of $A$ of its prefixes, suffixes and shape: a word that training never saw
still has its letters (Bojanowski et al., "Enriching Word Vectors with Subword Information", 2017).
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.tokens import PADDING, UNKNOWN
from thalweg.nn.embedding import is_of, looked_up
from thalweg.nn.knobs import check_count, check_dropout
from thalweg.nn.masks import described


class WordFeatures(nn.Module):
    """Embeddings of words with letters: `(batch, length, 1 + k)` whole numbers -> `(batch, length, width)`.

    The first number is the word's, below `words`; the others are those of its letters, below `places`. In training a
    word's own number becomes that of an unknown word with the probability `word_dropout`, so that letters are learned
    to be relied on; `dropout` silences that share of the sum. Padding gives zeros.

    >>> embed = WordFeatures(10, 20, width=4)
    >>> embed(torch.tensor([[[5, 7, 8], [0, 0, 0]]])).shape
    torch.Size([1, 2, 4])

    Raises `RecipeError` for a knob out of its range and input that is no such numbers, `DataError` (on a CPU) for
    numbers beyond `words` and `places`.
    """

    def __init__(
        self, words: int, places: int, *, width: int = 64, dropout: float = 0.0, word_dropout: float = 0.0
    ) -> None:
        super().__init__()
        for knob, value in (("words", words), ("places", places), ("width", width)):
            check_count("WordFeatures", knob, value, least=1 if knob == "width" else 2)
        check_dropout("WordFeatures", dropout)
        check_dropout("WordFeatures", word_dropout, knob="word_dropout", of="words")
        self.words = nn.Embedding(words, width, padding_idx=PADDING)
        self.letters = nn.Embedding(places, width, padding_idx=PADDING)
        self.dropout, self.word_dropout = nn.Dropout(dropout), word_dropout

    @no_type_check
    def forward(self, tokens: Int[Tensor, "batch length features"]) -> Float[Tensor, "batch length width"]:
        """The sum of what is known of each word."""
        if not is_of(tokens, 3, whole=True) or not tokens.shape[2]:
            raise RecipeError(
                f"The network takes words with their letters, int64 of shape (batch, length, 1 + letters), and was "
                f"given {described(tokens)}. Build it without places= for tokens."
            )
        words, letters = tokens[..., 0], tokens[..., 1:]
        if self.training and self.word_dropout:
            hidden = (torch.rand_like(words, dtype=self.words.weight.dtype) < self.word_dropout) & (words != PADDING)
            words = torch.where(hidden, UNKNOWN, words)
        of_letters = looked_up(self.letters, letters, "places").sum(-2) / math.sqrt(max(letters.shape[-1], 1))
        summed = looked_up(self.words, words) + of_letters
        silenced: Tensor = self.dropout(summed)
        return silenced

    def extra_repr(self) -> str:
        return f"word_dropout={self.word_dropout}"


def vectors_of_words(
    owner: str, vocabulary: int | None, places: int | None, *, width: int, dropout: float, word_dropout: float
) -> nn.Module:
    """What makes vectors of tokens, or of words with letters where there are places; vectors stay as they are.

    >>> vectors_of_words("rnn", 9, None, width=4, dropout=0.0, word_dropout=0.0)
    Embedding(9, 4, padding_idx=0)

    Raises `RecipeError` as `check_places` does.
    """
    check_places(owner, vocabulary, places, word_dropout)
    if vocabulary is None:
        return nn.Identity()
    if places is None:
        return nn.Embedding(vocabulary, width, padding_idx=PADDING)
    return WordFeatures(vocabulary, places, width=width, dropout=dropout, word_dropout=word_dropout)


def check_places(owner: str, vocabulary: int | None, places: int | None, word_dropout: float) -> None:
    """Refuse places for letters without a vocabulary of words, and dropout of words without places.

    >>> check_places("rnn", 100, 64, 0.1)

    Raises `RecipeError`.
    """
    if places is not None and vocabulary is None:
        raise RecipeError(
            f"{owner}: places is {places!r}, but places are for the letters of words. Give vocabulary= the number of "
            "words too, or leave places out."
        )
    if word_dropout and places is None:
        raise RecipeError(
            f"{owner}: word_dropout is {word_dropout!r}, but it needs the letters of words to rely on. Give places=, "
            "or leave word_dropout out."
        )
