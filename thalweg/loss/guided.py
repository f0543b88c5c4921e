r"""Guided attention: what it costs that a source is not read evenly from its beginning to its end.

$$ L = \frac{1}{N T} \sum_{n, t} A_{nt} W_{nt}, \qquad W_{nt} = 1 - \exp\Big(-\frac{(n/N - t/T)^2}{2 g^2}\Big) $$

(Tachibana, Uenoyama & Aihara, "Efficiently Trainable Text-to-Speech System Based on Deep Convolutional Networks with
Guided Attention", 2017, section 4.1.) $A_{nt}$ is the weight of position $n$ of the source, of $N$, at step $t$ of $T$,
both from 0; their $g$ is .2. It helps where source and target go along together, such as speech and its text, and is
wrong where order differs, as between languages.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.core.objective import name_of


def guided_attention(
    weights: Float[Tensor, "batch target source"],
    targets: Int[Tensor, " batch"],
    sources: Int[Tensor, " batch"],
    width: float = 0.2,
) -> Float[Tensor, " batch"]:
    """The loss of each example, for targets and sources of these lengths; padding has no part in it.

    It is at least 0 and below 1 / N; 0 for an example without a source or a target. In float32 or more.

    >>> even = torch.eye(4)[None]
    >>> guided_attention(even, torch.tensor([4]), torch.tensor([4]))
    tensor([0.])
    >>> guided_attention(even.flip(1), torch.tensor([4]), torch.tensor([4])) > 0.1
    tensor([True])
    """
    kind = torch.promote_types(torch.float32, weights.dtype)
    steps, places = (torch.arange(size, device=weights.device) for size in weights.shape[1:])
    targets, sources = targets[:, None], sources[:, None]
    done, read = steps.to(kind) / targets.clamp(min=1), places.to(kind) / sources.clamp(min=1)
    apart = (done[:, :, None] - read[:, None]) / width
    there = (steps < targets)[:, :, None] & (places < sources)[:, None]
    cost = -torch.expm1(-apart.square() / 2) * weights.to(kind)
    total: Tensor = cost.masked_fill(~there, 0.0).sum((1, 2)) / (targets * sources).clamp(min=1)[:, 0]
    return total


def check_aligned(model: nn.Module) -> None:
    """Refuse a model that does not say where in the source it looked.

    >>> check_aligned(nn.Linear(3, 2))
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: guided is for models that say where in the source they looked, but Linear has no...

    Raises `RecipeError`.
    """
    if not callable(getattr(model, "aligned", None)):
        raise RecipeError(
            f"guided is for models that say where in the source they looked, but {name_of(model)} has no aligned. Take "
            "model.kind = 'rnn-seq2seq', leave guided out, or give your model aligned(**inputs) -> (scores, weights "
            "(batch, target, source), there (batch, source)), as in thalweg.core.decoder.AlignedModel."
        )


def aligned_outputs(model: Any, x: Any) -> tuple[Tensor, Tensor, Int[Tensor, " batch"]]:
    """The output of a model that says where it looked, the weights `(batch, target, source)`, and sources' lengths.

    Raises `RecipeError` for a model that does not say it.
    """
    check_aligned(model)
    output, weights, there = model.aligned(**x)
    return output, weights, there.sum(1)
