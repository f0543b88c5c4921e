r"""The model's own log-likelihood of given outputs, as decoding makes it and as training does.

$$ \log p(y \mid x) = \sum_{t=1}^{|y|} \log p(y_t \mid x, y_{<t}), \quad y_{|y|} = \mathrm{END} $$
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.core.decoder import spread
from thalweg.core.errors import RecipeError
from thalweg.core.nest import describe
from thalweg.core.tokens import END, NO_TARGET, PADDING, START
from thalweg.decode.rules import check_known, check_tokens
from thalweg.decode.stepping import ask, exact, log_probabilities, read_inputs


def log_likelihood(
    model: Any, inputs: Mapping[str, Any], tokens: Sequence[Any], *, ended: bool = True
) -> Float[Tensor, " example"]:
    """The log-likelihood of one output for each example, in nats: one step for each token.

    `tokens` are lists without `START` and `END`, as in `Hypothesis.tokens`; the `END` behind each is counted where
    `ended`. The model is taken in the mode it is in, and gradients are kept where they are on.

    >>> class Coin:
    ...     def encode(self, source):
    ...         return source
    ...     def step(self, state, tokens):  # padding, unknown, start, end, heads, tails
    ...         return torch.tensor([0, 0, 0, 0.2, 0.5, 0.3]).log().expand(len(tokens), -1), state
    >>> log_likelihood(Coin(), {"source": torch.zeros(2)}, [[4, 5], []]).exp()
    tensor([0.0300, 0.2000], dtype=torch.float64)

    Raises `RecipeError` for a model that cannot be decoded from, unknown tokens, and a wrong number of outputs.
    """
    examples, device = read_inputs(model, inputs)
    prefix, targets = _teaching(tokens, examples, ended, device)
    total = torch.zeros(examples, dtype=exact(device), device=device)
    if not examples:
        return total
    state = spread(model, model.encode(**inputs), 1, prefix.shape[1])
    for time in range(prefix.shape[1]):
        scores, state = ask(model, state, prefix[:, time], time)
        total = total + _counted(scores, targets[:, time])
    return total


def forced_log_likelihood(
    model: Any, inputs: Mapping[str, Any], tokens: Sequence[Any], *, ended: bool = True
) -> Float[Tensor, " example"]:
    """The same of a model that makes all steps at once, as in training: `model(**inputs, prefix=...)`.

    That the two agree shows that the steps and their caches compute what was trained.

    >>> class Coin:
    ...     def encode(self, source):
    ...         return source
    ...     def step(self, state, tokens):
    ...         return self(state, tokens[:, None])[:, 0], state
    ...     def __call__(self, source, prefix):
    ...         return torch.tensor([0, 0, 0, 0.2, 0.5, 0.3]).log().expand(*prefix.shape, -1)
    >>> forced_log_likelihood(Coin(), {"source": torch.zeros(2)}, [[4, 5], []]).exp()
    tensor([0.0300, 0.2000], dtype=torch.float64)

    Raises `RecipeError` as `log_likelihood` does, and where what comes out has another shape.
    """
    examples, device = read_inputs(model, inputs)
    prefix, targets = _teaching(tokens, examples, ended, device)
    if not examples:
        return torch.zeros(0, dtype=exact(device), device=device)
    try:
        scores = model(**inputs, prefix=prefix)
    except IndexError as error:
        raise RecipeError(
            f"Decoding: tokens is or holds token {int(prefix.max())}, but the model has no place for it ({error}). "
            "Take tokens of the vocabulary that the model was trained with."
        ) from error
    if not isinstance(scores, Tensor) or scores.dim() != 3 or scores.shape[:2] != prefix.shape:
        raise RecipeError(
            f"{type(model).__name__}(**inputs, prefix=...) gave {describe(scores)} for a prefix of "
            f"{tuple(prefix.shape)}. Return the scores (example, position, token) of what follows each position."
        )
    return _counted(scores.flatten(0, 1), targets.flatten()).view(prefix.shape).sum(1)


def _teaching(
    tokens: Sequence[Any], examples: int, ended: bool, device: torch.device
) -> tuple[Int[Tensor, "example length"], Int[Tensor, "example length"]]:
    """What goes in at each step, and what comes out."""
    given = [check_tokens("tokens", one) for one in tokens]
    if len(given) != examples:
        raise RecipeError(
            f"Decoding: there are {len(given)} outputs for {examples} examples. Give a list of tokens for each."
        )
    length = max(map(len, given), default=0)
    behind = [length - len(one) for one in given]
    last = END if ended else NO_TARGET
    before = [[START, *one, *[PADDING] * more] for one, more in zip(given, behind, strict=True)]
    after = [[*one, last, *[NO_TARGET] * more] for one, more in zip(given, behind, strict=True)]
    shape = (examples, length + 1)
    return (
        torch.tensor(before, dtype=torch.int64, device=device).reshape(shape),
        torch.tensor(after, dtype=torch.int64, device=device).reshape(shape),
    )


def _counted(scores: Float[Tensor, "row token"], targets: Int[Tensor, " row"]) -> Float[Tensor, " row"]:
    """The log-probability of each target, 0 where there is none."""
    check_known("tokens", int(targets.max()), scores.shape[1])
    return torch.where(targets == NO_TARGET, 0.0, log_probabilities(scores, targets.clamp(min=0)))
