r"""Outputs drawn from the model's distribution, or from the likely part of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.core.counter import hashed
from thalweg.core.errors import RecipeError
from thalweg.core.randomness import stream_seed
from thalweg.decode.greedy import Lines, write
from thalweg.decode.hypothesis import Hypothesis
from thalweg.decode.largest import largest
from thalweg.decode.rules import Prefix, Rules, check_whole
from thalweg.decode.stepping import exact, read_inputs

LIKELY = (64, 1024)
"""So many tokens are looked at first for those that make up `top_p`, then so many, then all."""


def sample(
    model: Any,
    inputs: Mapping[str, Any],
    *,
    draws: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    numbers: Sequence[int] | Tensor | np.ndarray | None = None,
    prefix: Prefix | None = None,
    banned: Sequence[int] | Tensor | np.ndarray = (),
    shortest: int = 0,
    longest: int | Sequence[int] | Tensor | np.ndarray = 100,
) -> list[list[Hypothesis]]:
    r"""`draws` outputs for each example, drawn token by token.

    $$ y_t \sim q, \quad q(v) \propto p(v \mid x, y_{<t})^{1/T} \ \text{for}\ v \in V' $$

    with the `temperature` $T$. $V'$ are the tokens that may come; of these the `top_k` likeliest (Fan et al. 2018); of
    these, as few as make up a share of at least `top_p` of what is left (the nucleus: Holtzman et al. 2020). The
    log-likelihood of an output is the model's own, whatever it was drawn from.

    One number is taken from `generator` (or torch's global one). With it, what is drawn for an example is a function
    of its place in the batch, or of its number in `numbers`, such as its place in the data: its neighbours, and how
    many draws there are, change nothing. `prefix`, `banned`, `shortest` and `longest` are as in `beam_search`.

    >>> class Coin:
    ...     def encode(self, source):
    ...         return source
    ...     def step(self, state, tokens):  # padding, unknown, start, end, heads, tails
    ...         return torch.tensor([0, 0, 0, 0.2, 0.5, 0.3]).log().expand(len(tokens), -1), state
    >>> drawn = sample(Coin(), {"source": torch.zeros(1)}, draws=1000, generator=torch.Generator().manual_seed(0))[0]
    >>> 150 < sum(not one.tokens for one in drawn) < 250
    True

    Raises `RecipeError` as `beam_search` does, and for a temperature that is not positive, `top_k` below 1, and `top_p`
    outside of (0, 1].
    """
    _check(temperature, top_k, top_p)
    check_whole("draws", draws, 1)
    examples, device = read_inputs(model, inputs)
    rules = Rules.of(examples, device, prefix=prefix, banned=banned, shortest=shortest, longest=longest)
    own = _numbers(numbers, examples).to(device)
    where = generator.device if generator is not None else torch.device("cpu")
    seed = int(torch.randint(2**62, (), generator=generator, device=where))

    def choose(
        front: Lines, scores: Float[Tensor, "row token"], time: int, forced: Int[Tensor, " row"] | None
    ) -> tuple[Int[Tensor, " row"], Float[Tensor, " row"], Float[Tensor, " row"]]:
        keys = hashed(stream_seed(seed, time), own[front.rows // draws] * 2**31 + front.rows % draws, 1)[:, 0]
        uniform = (keys >> 11 & 2**53 - 1).to(exact(device)) * 2.0**-53
        values, tokens = _likely(front.rules.masked(scores, time, forced), temperature, top_k, top_p)
        place = _drawn(_shares(values, temperature), uniform)[:, None]
        token = place if tokens is None else tokens.gather(1, place)
        return token[:, 0], values.gather(1, place)[:, 0], scores.amax(1)

    return write(model, inputs, rules, draws, choose)


def _check(temperature: Any, top_k: Any, top_p: Any) -> None:
    if not isinstance(temperature, int | float) or not 0 < temperature < float("inf"):
        raise RecipeError(
            f"Decoding: temperature is {temperature!r}, but it is a finite number above 0. Near 0 the likeliest token "
            "comes always: for that, use greedy."
        )
    if top_k is not None:
        check_whole("top_k", top_k, 1)
    if top_p is not None and (not isinstance(top_p, int | float) or not 0 < top_p <= 1):
        raise RecipeError(
            f"Decoding: top_p is {top_p!r}, but it is the share of the likeliest tokens, above 0 and at most 1. Give "
            "for instance 0.9, or None for all."
        )


def _numbers(numbers: Any, examples: int) -> Int[Tensor, " example"]:
    own = torch.arange(examples) if numbers is None else torch.as_tensor(numbers)
    if own.shape != (examples,) or own.is_floating_point():
        raise RecipeError(
            f"Decoding: numbers has the shape {tuple(own.shape)} and type {own.dtype} for {examples} examples. Give a "
            "whole number for each, such as its place in the data."
        )
    return own.long()


def _likely(
    scores: Float[Tensor, "row token"], temperature: float, top_k: int | None, top_p: float | None
) -> tuple[Float[Tensor, "row choice"], Int[Tensor, "row choice"] | None]:
    """The scores that are drawn from, and their tokens where these are not all in their order."""
    if top_k is None and (top_p is None or top_p == 1):
        return scores, None
    if top_p is None or top_p == 1:
        return largest(scores, top_k or scores.shape[1])
    highest = scores.amax(1, keepdim=True)
    wanted: Tensor | None = None if top_k else top_p * _shares(scores, temperature, highest).sum(1, keepdim=True)
    for count in (top_k,) if top_k else (*LIKELY, scores.shape[1]):
        values, tokens = largest(scores, count)
        running = _shares(values, temperature, highest).cumsum(1)
        if wanted is None or bool((running[:, -1:] >= wanted).all()):
            break
    before = torch.cat([torch.zeros_like(running[:, :1]), running[:, :-1]], 1)
    enough = before >= (top_p * running[:, -1:] if wanted is None else wanted)
    return values.masked_fill(enough, -torch.inf), tokens


def _shares(
    values: Float[Tensor, "row choice"], temperature: float, highest: Float[Tensor, "row one"] | None = None
) -> Float[Tensor, "row choice"]:
    """Probabilities but for a factor of the row; those of a row of minus infinities are 0."""
    most = values.amax(1, keepdim=True) if highest is None else highest
    reference = torch.where(most == -torch.inf, 0.0, most)
    return ((values - reference).to(exact(values.device)) / temperature).exp()


def _drawn(shares: Float[Tensor, "row choice"], uniform: Float[Tensor, " row"]) -> Int[Tensor, " row"]:
    """The place of each row at which the running sum passes the drawn share of the whole."""
    running = shares.cumsum(1)
    place = torch.searchsorted(running, uniform[:, None] * running[:, -1:], right=True)
    return place[:, 0].clamp(max=shares.shape[1] - 1)
