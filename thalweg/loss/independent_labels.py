r"""A set of labels, each by itself: yes or no, whatever the others are."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.errors import RecipeError
from thalweg.core.nest import describe
from thalweg.core.objective import Losses, Moment, pair
from thalweg.core.tokens import MARKS


class IndependentLabels(nn.Module):
    r"""Negative log-likelihood of a set of labels that are independent given the source, in nats an example.

    $$ -\log p(Y \mid x) = - \sum_l \big( [l \in Y] \log \sigma(z_l) + [l \notin Y] \log (1 - \sigma(z_l)) \big) $$

    An objective over the batches of pairs whose targets are sets (`output="set"`): x has `source` and `lengths`, y the
    labels of each example as tokens `(batch, length)`, `END` and -100 behind them. The model is asked
    `model(source, lengths)` for logits `(batch, tokens)`, as `thalweg.nn.rnn` gives them; the reserved tokens, an
    unknown label among them, have no part in it. It is what a sequence of labels is compared with: both are likelihoods
    of the same sets, one of which knows that labels depend on each other (`log p` of a sequence is that of one order).

    >>> model = lambda source, lengths: torch.zeros(1, 6)
    >>> batch = ({"source": torch.tensor([[4]]), "lengths": torch.tensor([1])}, torch.tensor([[5, 3, -100]]))
    >>> IndependentLabels()(model, batch, Moment()).value.exp()  # two fair coins
    tensor([4.])

    Raises `RecipeError` for outputs of another shape, and for a label that they have no score for.
    """

    thalweg_objective = True

    def forward(self, model: Any, batch: Any, moment: Moment) -> Losses:
        x, y = pair(batch)
        output = model(x["source"], x["lengths"])
        if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != len(y):
            raise RecipeError(
                f"IndependentLabels: the output is {describe(output)} for {len(y)} examples, but logits (batch, "
                "tokens) say of each label whether it is there. Give a model with one output a sequence, as "
                "thalweg.nn.rnn is."
            )
        wanted = in_set(y, output.shape[1]).to(output.dtype)
        values = F.binary_cross_entropy_with_logits(output, wanted, reduction="none")
        return Losses(values[:, len(MARKS) :].sum(1))


def in_set(y: Int[Tensor, "batch length"], size: int) -> Float[Tensor, "batch {size}"]:
    """Whether each of `size` tokens is in the set that a row holds; reserved tokens and what is below 0 never are.

    >>> in_set(torch.tensor([[5, 3, -100]]), 7)
    tensor([[0., 0., 0., 0., 0., 1., 0.]])

    Raises `RecipeError` for a token beyond them.
    """
    if y.numel() and int(y.max()) >= size:
        raise RecipeError(
            f"IndependentLabels: the targets hold token {int(y.max())}, but the model has {size} outputs. Give it as "
            "many as the targets' vocabulary has tokens: encoding.outputs."
        )
    found = torch.zeros(len(y), size, device=y.device)
    found.scatter_(1, y.clamp(min=0), 1.0)
    found[:, : len(MARKS)] = 0.0
    return found
