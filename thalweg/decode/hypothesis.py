"""What decoding gives: the tokens of an output, and what the model thinks of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    r"""An output sequence.

    `tokens` are without `START` and `END`; `log_likelihood` is the model's own $\log p(y \mid x)$ in nats, over the
    tokens and, where the hypothesis is `finished`, `END`. `score` is what hypotheses are ranked by: of greedy search
    and samples the log-likelihood, of beam search with the penalties that were asked for. One that is not finished was
    left without a token that may follow, by the model (scores of minus infinity) or by what was required. `group`
    numbers the diverse group that found it.

    >>> Hypothesis((5, 7), score=-0.4, log_likelihood=-1.2).length
    3
    """

    tokens: tuple[int, ...]
    score: float
    log_likelihood: float
    finished: bool = True
    group: int = 0

    @property
    def length(self) -> int:
        """The number of tokens that the log-likelihood is of: `END` counts."""
        return len(self.tokens) + self.finished
