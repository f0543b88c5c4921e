r"""Asking a model for the next token of many rows, and making log-probabilities of its scores."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from thalweg.core.decoder import check_decoder, keeps_own_state
from thalweg.core.errors import RecipeError
from thalweg.core.evaluating import evaluating
from thalweg.core.nest import count_examples, describe, leaves

MOST_NAMED = 5
ROOM = 2**18
"""So many exponentials are taken at once."""
LOWEST, HIGHEST = -10.0, 60.0
"""Where the largest score of each row is between these, exponentials of the scores are summed as they are."""


def read_inputs(model: Any, inputs: Any) -> tuple[int, torch.device]:
    """How many examples there are, and where; refuses what cannot be decoded.

    Raises `RecipeError` for a model without `encode` and `step`, and inputs that are no dict of tensors.
    """
    check_decoder(model)
    if not isinstance(inputs, Mapping) or next(leaves(inputs), None) is None:
        raise RecipeError(
            f"Decoding: the inputs are {describe(inputs)}, but they are what model.encode takes, by name. Give a dict "
            "of tensors such as {'source': ..., 'lengths': ...}."
        )
    if "prefix" in inputs:
        raise RecipeError(
            "Decoding: the inputs hold 'prefix', the targets that a model is trained on. Leave it out; what outputs "
            "shall begin with is the argument prefix=."
        )
    return count_examples(inputs), next(leaves(inputs)).device


@contextmanager
def decoding(model: Any) -> Iterator[None]:
    """Without gradients, and with all parts of the model in evaluation mode; each is put back as it was.

    Tensors of `torch.inference_mode` cost less to make, and cannot be trained with. So it is entered where no part of
    the model could keep one for later: a module of someone's own may, such as a table of positions that it makes once.
    """
    parts = list(model.modules()) if isinstance(model, nn.Module) else []
    free = torch.inference_mode() if parts and all(map(_keeps_nothing, parts)) else torch.no_grad()
    with evaluating(model), free:
        yield


def _keeps_nothing(part: nn.Module) -> bool:
    """Whether its class is one of torch or thalweg, whose calls leave nothing behind in evaluation mode."""
    return type(part).__module__.partition(".")[0] in ("torch", "thalweg")


def ask(
    model: Any, state: Any, tokens: Int[Tensor, " row"], time: int, before: Tensor | None = None
) -> tuple[Float[Tensor, "row token"], Any]:
    """The scores after one more token, in single precision or better, and the state.

    Raises `RecipeError` naming the step where they are no floating `(row, token)`, as wide as those `before`.
    """
    answer = model.step(state, tokens)
    width = None if before is None else before.shape[1]
    if isinstance(answer, tuple) and len(answer) == 2 and _are_scores(answer[0], len(tokens), width):
        scores, after = answer
        return (scores if scores.dtype in (torch.float32, torch.float64) else scores.float()), after
    raise RecipeError(
        f"{type(model).__name__}.step gave {describe(answer)} at step {time} for {len(tokens)} rows, but it gives "
        f"(scores, state) with floating scores ({len(tokens)}, {width or 'tokens'}). Return a score for each token of "
        "each row, at every step."
    )


def _are_scores(value: Any, rows: int, width: int | None) -> bool:
    if not isinstance(value, Tensor) or value.dim() != 2 or not value.is_floating_point() or len(value) != rows:
        return False
    return value.shape[1] > 0 and width in (None, value.shape[1])


def ask_attended(
    model: Any, state: Any, used: Bool[Tensor, " row"], time: int
) -> tuple[Float[Tensor, "row position"], Bool[Tensor, "row position"]]:
    """How much each row attends to each position, and which positions are there.

    Raises `RecipeError` naming the step where that is of another form, or NaN in a row that is used.
    """
    answer = model.attended(state)
    if not _are_weights(answer, len(used)):
        raise RecipeError(
            f"{type(model).__name__}.attended gave {describe(answer)} at step {time} for {len(used)} rows, but it "
            f"gives (weights, there), both ({len(used)}, positions), there bool. Return the weights of each row, and "
            "where there is a position."
        )
    weights, there = answer
    weights = torch.where(there, weights, 0.0)
    if bool((weights.isnan().any(1) & used).any()):
        raise RecipeError(
            f"What {type(model).__name__}.attended gave at step {time} holds NaN. Look for a softmax over positions of "
            "which none is there."
        )
    return weights, there


def _are_weights(answer: Any, rows: int) -> bool:
    if not isinstance(answer, tuple) or len(answer) != 2 or not all(isinstance(part, Tensor) for part in answer):
        return False
    weights, there = answer
    return weights.dim() == 2 and len(weights) == rows and weights.shape == there.shape and there.dtype is torch.bool


def may_leave(model: Any, done: int, present: int) -> bool:
    """Whether examples that are done shall leave the batch now.

    At once where the state is copied at every step anyway. Where a model keeps it in a form of its own, such as caches,
    these are copied for it alone, and so when an eighth of the batch is done.
    """
    return done > 0 and (done * 8 >= present or not keeps_own_state(model))


def exact(device: torch.device) -> torch.dtype:
    """What log-likelihoods are summed in: double precision, where a device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def memory_for(scores: Float[Tensor, "row token"]) -> Float[Tensor, "some token"]:
    """Memory for the exponentials of some rows, few enough to stay in a processor's cache; on other devices of all."""
    rows = max(1, ROOM // scores.shape[1]) if scores.device.type == "cpu" else len(scores)
    return torch.empty_like(scores[:rows])


def normalizers(
    scores: Float[Tensor, "row token"], highest: Float[Tensor, " row"], out: Tensor | None = None
) -> Float[Tensor, " row"]:
    r"""$\log \sum_v e^{s_v}$ of each row, to be taken off any score that a log-probability is wanted of.

    By $m + \log \sum_v e^{s_v - m}$ with the row's `highest` score as $m$, or 0 where that is between -10 and 60: so
    nothing overflows, and a pass over all scores is saved where it is so in all rows. 0 for a row of minus infinities,
    whose scores then stay what they are. NaN where a score is NaN or plus infinity. `out` is `memory_for` the scores.
    `torch.sum` adds by halves; the sum within `torch.softmax` is quicker by a seventh, but errs by 2e-6 where a
    vocabulary is large.

    >>> normalizers(torch.zeros(1, 4), torch.tensor([0.0])).exp()
    tensor([4.], dtype=torch.float64)
    """
    return _normalizers(scores, highest, out, are_usual(highest))


def checked_normalizers(
    scores: Float[Tensor, "row token"],
    highest: Float[Tensor, " row"],
    used: Bool[Tensor, " row"],
    time: int,
    present: Int[Tensor, " example"],
    out: Tensor | None = None,
) -> Float[Tensor, " row"]:
    """The same, refused where a row that is used holds NaN or plus infinity; equally many rows for each example.

    Raises `RecipeError` naming the step and the examples.
    """
    usual = are_usual(highest)
    found = _normalizers(scores, highest, out, usual)
    if not usual:
        check_scores(found, used, time, present)
    return found


def are_usual(highest: Float[Tensor, " row"]) -> bool:
    """Whether the largest score of every row is such that exponentials can be summed as they are; NaN is not.

    >>> are_usual(torch.tensor([0.0, 80.0]))
    False
    """
    low, high = torch.aminmax(highest)
    return float(low) > LOWEST and float(high) < HIGHEST


def _normalizers(
    scores: Float[Tensor, "row token"], highest: Float[Tensor, " row"], out: Tensor | None, usual: bool
) -> Float[Tensor, " row"]:
    if out is not None and len(out) < len(scores):
        pieces = zip(scores.split(len(out)), highest.split(len(out)), strict=True)
        return torch.cat([_normalizers(piece, high, out[: len(piece)], usual) for piece, high in pieces])
    kind, out = exact(scores.device), None if out is None else out[: len(scores)]
    if usual:
        return torch.exp(scores, out=out).sum(1).to(kind).log()
    empty = highest == -torch.inf
    reference = torch.where(empty | ((highest > LOWEST) & (highest < HIGHEST)), 0.0, highest)
    sums = torch.sub(scores, reference[:, None], out=out).exp_().sum(1).to(kind)
    return torch.where(empty, 0.0, sums.log() + reference)


def log_probabilities(scores: Float[Tensor, "row token"], tokens: Int[Tensor, " row"]) -> Float[Tensor, " row"]:
    """The log-probability of one token of each row; with gradients.

    >>> log_probabilities(torch.zeros(1, 4), torch.tensor([3])).exp()
    tensor([0.2500], dtype=torch.float64)
    """
    return scores.gather(1, tokens[:, None])[:, 0] - normalizers(scores, scores.detach().amax(1))


def check_scores(
    normalizer: Float[Tensor, " row"], used: Bool[Tensor, " row"], time: int, present: Int[Tensor, " example"]
) -> None:
    """Refuse scores that are NaN or plus infinity, in the rows that are used, equally many for each example.

    Raises `RecipeError` naming the step and the examples.
    """
    bad = normalizer.isnan() & used
    if bool(bad.any()):
        numbers = present[bad.view(len(present), -1).any(1)].tolist()
        named = ", ".join(map(str, numbers[:MOST_NAMED])) + (", ..." if len(numbers) > MOST_NAMED else "")
        raise RecipeError(
            f"The scores of step {time} are NaN or plus infinity (example {named}, counted from 0), but a score is a "
            "logit or a log-probability; minus infinity rules a token out. Look for masks that leave nothing to attend "
            "to, logarithms of 0, and weights that are not finite."
        )
