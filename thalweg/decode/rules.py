"""What may come next: forced beginnings, tokens that never come, the shortest and the longest output."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.core.tokens import END, MARKS, PADDING, START
from thalweg.decode.largest import largest

FREE = -1
"""In the place of a forced token: any may come."""
FEW = 64
"""So many banned tokens are skipped among the best; more are taken out of all scores."""
Prefix = Sequence[Any] | Tensor | np.ndarray
"""A list of tokens for all examples, or one for each; or a table of them, padded behind."""


@dataclass(frozen=True)
class Rules:
    """What may come next, in an example of a batch.

    `PADDING` and `START` never do, nor what is `banned`. After a `prefix`, which is given, come at least `shortest` and
    at most `longest` tokens in all; then `END` is the only one.
    """

    prefix: Int[Tensor, "example length"]
    """Padded by `FREE`."""
    banned: Int[Tensor, " token"]
    early: Int[Tensor, " more"]
    """What is banned, and `END`: the tokens that may not come before `shortest`."""
    shortest: int
    longest: Int[Tensor, " example"]
    least: int
    most: int
    """The smallest and the largest of `longest`."""

    @classmethod
    def of(
        cls,
        examples: int,
        device: torch.device,
        *,
        prefix: Prefix | None = None,
        banned: Sequence[int] | Tensor | np.ndarray = (),
        shortest: int = 0,
        longest: int | Sequence[int] | Tensor | np.ndarray = 100,
    ) -> "Rules":
        """The rules for a batch of so many examples.

        >>> Rules.of(2, torch.device("cpu"), prefix=[[5, 6], []], longest=3).prefix
        tensor([[ 5,  6],
                [-1, -1]])

        Raises `RecipeError` for values that contradict each other or are no whole numbers in their range.
        """
        limits = _limits(longest, examples)
        check_whole("shortest", shortest, 0)
        if limits and shortest > min(limits):
            raise RecipeError(
                f"Decoding: shortest is {shortest} and longest {min(limits)}. An output cannot keep both; take "
                f"longest={shortest} or more."
            )
        out = [_token("banned", token) for token in _listed("banned", banned)]
        begun = _beginnings(prefix, examples)
        for example, (beginning, limit) in enumerate(zip(begun, limits, strict=True)):
            if len(beginning) > limit:
                raise RecipeError(
                    f"Decoding: the prefix of example {example} has {len(beginning)} tokens, but longest is {limit}. "
                    f"Take longest={len(beginning)} or more; the prefix counts."
                )
            if both := sorted(set(beginning) & set(out)):
                raise RecipeError(
                    f"Decoding: the prefix of example {example} holds token {both[0]}, which is banned. Leave it out "
                    "of one of the two."
                )
        width = max(map(len, begun), default=0)
        padded = [[*beginning, *[FREE] * (width - len(beginning))] for beginning in begun]
        return cls(
            torch.tensor(padded, dtype=torch.int64, device=device).reshape(examples, width),
            torch.tensor(sorted({PADDING, START, *out}), dtype=torch.int64, device=device),
            torch.tensor(sorted({PADDING, START, END, *out}), dtype=torch.int64, device=device),
            shortest,
            torch.tensor(limits, dtype=torch.int64, device=device),
            min(limits, default=0),
            max(limits, default=0),
        )

    def check(self, vocabulary: int) -> None:
        """Refuse tokens that the model has no score for; the number of scores is known once it was asked.

        Raises `RecipeError` naming the token.
        """
        for name, tokens in (("prefix", self.prefix), ("banned", self.banned)):
            if tokens.numel():
                check_known(name, int(tokens.max()), vocabulary)
        check_known("END", END, vocabulary)

    def take(self, kept: Bool[Tensor, " example"]) -> "Rules":
        """The rules of some of the examples."""
        return replace(self, prefix=self.prefix[kept], longest=self.longest[kept])

    def forced(self, time: int) -> Int[Tensor, " example"] | None:
        """The only token that may come as number `time` of each example, or `FREE`; None where all are free."""
        begun = self.prefix[:, time] if time < self.prefix.shape[1] else None
        if time < self.least:
            return begun
        return torch.where(self.longest <= time, END, FREE if begun is None else begun)

    def unwanted(self, time: int) -> Int[Tensor, " token"]:
        """The tokens that may not come as number `time` of any example."""
        return self.banned if time >= self.shortest else self.early

    def masked(
        self, scores: Float[Tensor, "row token"], time: int, forced: Int[Tensor, " row"] | None
    ) -> Float[Tensor, "row token"]:
        """The scores with minus infinity for what may not come."""
        allowed = scores.index_fill(1, self.unwanted(time), -torch.inf)
        if forced is None:
            return allowed
        token = forced.clamp(min=0)[:, None]
        alone = torch.full_like(scores, -torch.inf).scatter_(1, token, scores.gather(1, token))
        return torch.where((forced >= 0)[:, None], alone, allowed)

    def best(
        self, scores: Float[Tensor, "row token"], count: int, time: int, forced: Int[Tensor, " row"] | None
    ) -> tuple[Float[Tensor, "row rank"], Int[Tensor, "row rank"], Float[Tensor, " row"]]:
        """At least the `count` best tokens that may come: scores, tokens, and each row's largest score of all.

        The best come first, of equal ones the smaller token; what may not come has minus infinity.
        """
        unwanted = self.unwanted(time)
        if len(unwanted) <= FEW:
            values, tokens = largest(scores, count + len(unwanted))
            highest = values[:, 0]
            values = values.masked_fill((tokens[:, :, None] == unwanted).any(2), -torch.inf)
        else:
            highest = scores.amax(1)
            values, tokens = largest(scores.index_fill(1, unwanted, -torch.inf), count)
        if forced is None:
            return values, tokens, highest
        only, token = (forced >= 0)[:, None], forced.clamp(min=0)[:, None]
        first = torch.arange(values.shape[1], device=values.device) == 0
        values = torch.where(only, torch.where(first, scores.gather(1, token), -torch.inf), values)
        return values, torch.where(only & first, token, tokens), highest


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise `RecipeError` unless `value` is a whole number of at least `least`.

    >>> check_whole("width", 0, 1)
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: Decoding: width is 0, but it must be a whole number of at least 1. ...
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise RecipeError(
            f"Decoding: {name} is {value!r}, but it must be a whole number of at least {least}. Give for instance "
            f"{name}={least}."
        )


def check_known(name: str, token: int, vocabulary: int) -> None:
    """Raise `RecipeError` unless the model has a score for the token."""
    if token >= vocabulary:
        raise RecipeError(
            f"Decoding: {name} is or holds token {token}, but the model scores the tokens 0 to {vocabulary - 1}. Take "
            "tokens of the vocabulary that the model was trained with."
        )


def check_tokens(name: str, tokens: Any) -> list[int]:
    """Tokens that may stand in an output, as plain numbers.

    Raises `RecipeError` for what is no list of them, and for `PADDING`, `START` and `END`.
    """
    return [_token(name, token) for token in _listed(name, tokens)]


def _listed(name: str, tokens: Any) -> list[Any]:
    given = tokens.tolist() if isinstance(tokens, Tensor | np.ndarray) else tokens
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise RecipeError(f"Decoding: {name} is {tokens!r}, but tokens are given as a list of numbers, as in [5, 7].")
    return list(given)


def _token(name: str, token: Any) -> int:
    if not isinstance(token, Integral) or isinstance(token, bool) or token < 0:
        raise RecipeError(
            f"Decoding: {name} holds {token!r}, but tokens are whole numbers of at least 0. Give their numbers in the "
            "vocabulary, as Vocabulary.encode does."
        )
    if token in (PADDING, START, END):
        raise RecipeError(
            f"Decoding: {name} holds {token}, {MARKS[int(token)]}. {MARKS[PADDING]} and {MARKS[START]} never come out "
            f"and {MARKS[END]} ends an output, so leave it out; how long outputs are is set by shortest and longest."
        )
    return int(token)


def _limits(longest: Any, examples: int) -> list[int]:
    given = longest.tolist() if isinstance(longest, Tensor | np.ndarray) else longest
    if not isinstance(given, Sequence):
        check_whole("longest", given, 0)
        return [given] * examples
    for limit in given:
        check_whole("longest", limit, 0)
    if len(given) != examples:
        raise RecipeError(
            f"Decoding: longest has {len(given)} numbers for {examples} examples. Give one for all, or one for each."
        )
    return list(given)


def _beginnings(prefix: Any, examples: int) -> list[list[int]]:
    """The tokens that each output begins with; padding behind them is cut off."""
    given = [] if prefix is None else _listed("prefix", prefix)
    if all(isinstance(one, Integral) for one in given):
        return [check_tokens("prefix", given)] * examples
    if len(given) != examples:
        raise RecipeError(
            f"Decoding: prefix has {len(given)} lists for {examples} examples. Give a list of tokens for all, or one "
            "for each example, which may be empty."
        )
    return [check_tokens("prefix", _without_padding(_listed("prefix", one))) for one in given]


def _without_padding(tokens: list[Any]) -> list[Any]:
    while tokens and tokens[-1] == PADDING:
        tokens.pop()
    return tokens
