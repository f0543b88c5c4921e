r"""What finished hypotheses are ranked by: log-likelihood, normalized by length, less what was not attended to.

$$ s(y) = \frac{\log p(y \mid x)}{n(|y|)} + \beta \sum_i \log \min\Big(\sum_j a_{ij}, 1\Big), \quad
   n(|y|) = |y|^\alpha \ \text{("power")} \ \text{ or } \Big(\frac{5 + |y|}{6}\Big)^\alpha \ \text{("gnmt")} $$

$|y|$ counts `END`; $a_{ij}$ is how much output token $j$ attends to source position $i$ (Wu et al. 2016, "Google's
Neural Machine Translation System", section 7, equation 14).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from thalweg.core.errors import RecipeError, did_you_mean

NORMALIZATIONS = ("power", "gnmt")


@dataclass(frozen=True)
class Ranking:
    r"""How finished hypotheses are compared: `length_penalty` is $\alpha$, `coverage_penalty` $\beta$.

    Raises `RecipeError` for an unknown normalization, and penalties that are not finite or, of coverage, negative.
    """

    length_penalty: float = 0.6
    normalization: str = "power"
    coverage_penalty: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("length_penalty", self.length_penalty), ("coverage_penalty", self.coverage_penalty)):
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise RecipeError(f"Decoding: {name} is {value!r}, but it is a finite number. Give 0.0 for none.")
        if self.coverage_penalty < 0:
            raise RecipeError(
                f"Decoding: coverage_penalty is {self.coverage_penalty}, but one below 0 would reward what is not "
                "attended to. Give at least 0.0, which is none."
            )
        if self.normalization not in NORMALIZATIONS:
            raise RecipeError(
                f"Decoding: normalization is {self.normalization!r}, but it is 'power' or 'gnmt'."
                + did_you_mean(str(self.normalization), NORMALIZATIONS)
            )

    def norm(self, length: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """What the log-likelihood of so many tokens is divided by."""
        return (length if self.normalization == "power" else (5 + length) / 6) ** self.length_penalty

    def score(self, totals: Float[Tensor, "*shape"], length: int) -> Float[Tensor, "*shape"]:
        """The scores of log-likelihoods of so many tokens, before coverage.

        >>> Ranking(0.5).score(torch.tensor([-6.0]), 9)
        tensor([-2.])
        """
        return totals / self.norm(totals.new_tensor(length))

    def covered(
        self, coverage: Float[Tensor, "*shape position"], there: Bool[Tensor, "*shape position"]
    ) -> Float[Tensor, "*shape"]:
        """What coverage adds, at most 0; a position that nothing attended to counts as the smallest float would."""
        attended = coverage.clamp(torch.finfo(torch.float32).tiny, 1.0).log()
        return self.coverage_penalty * torch.where(there, attended, 0.0).sum(-1)

    def bound(
        self, totals: Float[Tensor, "example group"], length: int, longest: Int[Tensor, " example"]
    ) -> Float[Tensor, "example group"]:
        r"""What a hypothesis that has so much after `length` tokens can score at most, however it goes on.

        No token adds to a log-likelihood, and coverage takes off at least 0; so the bound is the present one over the
        norm of the longest output for $\alpha \geq 0$, of the next one for $\alpha < 0$.

        >>> Ranking(1.0).bound(torch.tensor([[-6.0]]), 2, torch.tensor([11]))
        tensor([[-0.5000]])
        """
        if self.length_penalty < 0:
            return self.score(totals, length + 1)
        return totals / self.norm((longest + 1).to(totals.dtype))[:, None]
