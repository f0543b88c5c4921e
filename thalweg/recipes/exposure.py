r"""Exposure bias of a trained decoder: how much worse it goes on after its own prefixes than after gold ones.

Each example's target is begun with its first tokens as they should be, and as the model puts them out itself; both go
on greedily. The edits of the continuations (`thalweg.measure.exposure`), over the tokens that were left,

$$ \sum_i \big( \min(a_i^\mathrm{own}, n_i - l_i) - \min(a_i^\mathrm{gold}, n_i - l_i) \big) / \sum_i (n_i - l_i), $$

differ by what mistakes lead to mistakes: the examples are the same, and so are the lengths of the prefixes. Of an
example no more edits count than tokens were left: one that runs away is no worse than one that says nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.convert import as_source
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.nest import describe, to_device
from thalweg.core.objective import pair
from thalweg.core.tokens import PADDING
from thalweg.decode import greedy
from thalweg.measure.exposure import continuation_edits
from thalweg.recipes.decoded import most_for
from thalweg.training import Run
from thalweg.training.interval import mean_interval

Row = tuple[float, float, float, float]
NOT_COMPARED: Row = (float("nan"),) * 4


class Continued(NamedTuple):
    """Of each example, as a source deals them: edits after a gold prefix and after its own, and tokens left.

    `wrong` is 1 where its own prefix is not the gold one. All are NaN where it cannot be compared: its target has one
    token, or its own output ended within the prefix.
    """

    gold: Float[np.ndarray, " example"]
    own: Float[np.ndarray, " example"]
    left: Float[np.ndarray, " example"]
    wrong: Float[np.ndarray, " example"]


class ExposureBias(NamedTuple):
    """Edits per token that is left: after own prefixes minus after gold ones, with its interval at 95 %; and of each.

    `wrong` is the share of own prefixes that are not the gold one: where there is none, nothing can differ. `examples`
    were compared; those of one token, and those whose own output ended within the prefix, are `left_out`.
    """

    value: float
    low: float
    high: float
    gold: float
    own: float
    wrong: float
    examples: int
    left_out: int


def exposure_bias(run: Run | nn.Module, source: Any = None, *, share: float = 0.5) -> ExposureBias:
    """The exposure bias of a run's model on its test split (validation where it has none), or on a `source`.

    Prefixes are `share` of each target's tokens, rounded down, at least one. A source's batches are `(x, y)` with the
    `prefix` in x; the model is one that can be decoded from (`thalweg.core.decoder.Decoder`). The interval is that of
    a ratio, by resampling the examples.

    >>> import thalweg
    >>> small = ["data.categories=scripts", "model.width=8", "epochs=1"]
    >>> found = exposure_bias(thalweg.train(thalweg.load("names:de", assignments=small), device="cpu"))
    >>> found.examples + found.left_out, found.low <= found.own - found.gold <= found.high
    (19, True)

    Raises `RecipeError` for a model alone without a source, and as `continued` does; `DataError` where no example can
    be compared.
    """
    model, source = _opened(run, source)
    found = continued(model, source, share)
    there = ~np.isnan(found.left)
    if not there.any():
        raise DataError(
            f"None of the {len(there)} examples can be compared: their targets have one token, or the model ends "
            "before. Train it longer, or give a smaller share."
        )
    gold, own, left, wrong = (part[there] for part in found)
    value, low, high = mean_interval((own - gold) / left, left)
    after_gold, after_own = (float(each.sum() / left.sum()) for each in (gold, own))
    return ExposureBias(value, low, high, after_gold, after_own, float(wrong.mean()), len(left), len(there) - len(left))


def continued(model: nn.Module, source: Any, share: float = 0.5) -> Continued:
    """The edits of continuations after both prefixes, for each example of a source.

    Raises `RecipeError` for a share that is not between 0 and 1, a model that cannot be decoded from, and batches
    without a prefix.
    """
    if not 0 < share < 1:
        raise RecipeError(f"share={share!r}, but it is how much of a target the prefix is, between 0 and 1. Give 0.5.")
    device = next((part.device for part in model.parameters()), torch.device("cpu"))
    rows: list[Row] = []
    for batch in source.batches(0, 0, None):
        targets, inputs = _parts(to_device(batch, device))
        rows += _compared(model, inputs, targets, share)
    return Continued(*np.array(rows, dtype=float).reshape(-1, 4).T)


def _opened(run: Run | nn.Module, source: Any) -> tuple[nn.Module, Any]:
    if isinstance(run, nn.Module):
        if source is None:
            raise RecipeError(
                "A model alone has no data. Give exposure_bias(model, source), for instance splits.test, or a run."
            )
        return run, as_source(source, "test")
    if source is None:
        assert run.recipe is not None
        splits = run.recipe.data
        source = splits.test if splits.test is not None else splits.validation
    if source is None:
        raise RecipeError("The run has neither a test nor a validation split. Give exposure_bias(run, source).")
    return run.model, as_source(source, "test")


def _parts(batch: Any) -> tuple[list[list[int]], Mapping[str, Any]]:
    """The targets without `END`, and what the model encodes."""
    x, _ = pair(batch)
    if not isinstance(x, Mapping) or not isinstance(x.get("prefix"), Tensor):
        raise RecipeError(
            f"Exposure bias is of models that put out a sequence, but the inputs of a batch are {describe(x)} without "
            "a prefix of tokens. Give {'source': ..., 'prefix': ...} as thalweg.data.PairSource does."
        )
    targets = [[token for token in row if token != PADDING] for row in x["prefix"][:, 1:].tolist()]
    return targets, {name: part for name, part in x.items() if name != "prefix"}


def _compared(model: nn.Module, inputs: Mapping[str, Any], targets: list[list[int]], share: float) -> Iterator[Row]:
    lengths = [max(1, int(share * len(target))) for target in targets]
    limits = [most_for(len(target)) for target in targets]
    begun = [target[:length] for target, length in zip(targets, lengths, strict=True)]
    forced, free = (
        [list(each.tokens) for each in greedy(model, inputs, longest=limits, prefix=prefix)] for prefix in (begun, None)
    )
    for target, length, gold, own in zip(targets, lengths, forced, free, strict=True):
        left = len(target) - length
        if left < 1 or len(own) < length:
            yield NOT_COMPARED
            continue
        after_gold, after_own = (min(left, continuation_edits(output, target, length)) for output in (gold, own))
        yield after_gold, after_own, left, own[:length] != target[:length]
