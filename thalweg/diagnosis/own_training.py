"""What a network's own modules do in training alone (`if self.training:`), and the network without it.

Images mirrored inside of the model, noise added, units dropped by hand: what is done there no source shows, for it
happens behind the inputs. Where the network trains well without it, that is at fault. Dropout and norms of torch stay
as they are: the first is asked for where restraint is, the second has checks of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.description import describe_piece
from thalweg.core.nest import Nest
from thalweg.core.objective import apply, pair
from thalweg.core.randomness import seed_everything, untouched
from thalweg.core.step import Step
from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.flaw import Flaw, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.diagnosis.tracing import forward, tensors
from thalweg.training import Recipe

AS_EVALUATED = "its own modules as in evaluation"
LIBRARIES = ("torch.", "thalweg.")
TORCHS = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
"""What stays as it is, also where a class of the user's own is derived of it."""
TIMES = 3
"""What is done at random is looked for so often."""


class InEvaluation(nn.Module):
    """A model whose own modules do in training what they do in evaluation."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> "InEvaluation":
        """Set the mode of all modules that are torch's."""
        super().train(mode)
        for module in own_modules(self.model):
            module.training = False
        return self

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.model(*inputs, **named)


@dataclass(frozen=True, repr=False)
class AsEvaluated:
    """A model factory whose models' own modules do in training what they do in evaluation.

    >>> class Noisy(nn.Linear):
    ...     def forward(self, x: Tensor) -> Tensor:
    ...         return super().forward(x + torch.randn_like(x) if self.training else x)
    >>> Noisy.__module__ = "program"  # a user's own
    >>> model, x = AsEvaluated(lambda: nn.Sequential(Noisy(3, 2), nn.Dropout()))().train(), torch.ones(5, 3)
    >>> model.model[0].training, model.model[1].training
    (False, True)
    """

    factory: Callable[[], nn.Module]

    def __call__(self) -> nn.Module:
        return InEvaluation(self.factory()).train()

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)} with {AS_EVALUATED}"


def own_modules(model: nn.Module) -> list[nn.Module]:
    """The modules whose forward pass is the user's own, norms and dropout left out."""
    others = (module for module in model.modules() if not f"{type(module).__module__}.".startswith(LIBRARIES))
    return [module for module in others if not isinstance(module, TORCHS)]


def as_evaluated(recipe: Recipe, batch: Nest) -> tuple[str, Recipe, Flaw] | None:
    """The recipe without what its own modules do in training alone, and the flaw that this is if it trains better then.

    None where they do the same in training and in evaluation, or cannot be trained by what they do in evaluation.
    """
    if not changes_in_training(recipe, batch):
        return None
    changed = recipe.but(model=AsEvaluated(recipe.model))
    with untouched():
        minimized = forward(Step(changed.model(), recipe.objective), batch, training=True)
    if minimized is None or not minimized.requires_grad:
        return None
    flaw = Flaw(
        Cause.WIRING,
        Mechanism.ITS_OWN_TRAINING_MODE,
        "the network trains well where its own modules do in training what they do in evaluation, so that what they do "
        "in training alone (if self.training) is at fault",
        1.0,
        "the same losses with it and without it",
        "Look at what your modules do where self.training is set: an augmentation that changes the answer, too much "
        "noise, too many units dropped",
        "a training without it that is no better",
        Sure.MEASURED,
    )
    return AS_EVALUATED, changed, flaw


def changes_in_training(recipe: Recipe, batch: Nest) -> bool:
    """Whether the outputs of a new model on a batch change where its own modules alone are set to train.

    Not where they change from one evaluation to the next: what is drawn there, or kept from pass to pass, is another.
    """
    try:
        x, _ = pair(batch)
        with untouched(), torch.no_grad():
            seed_everything(recipe.seed, "model")
            model = recipe.model().eval()
            own = own_modules(model)
            before, again = (list(tensors(apply(model, x))) if own else [] for _ in range(2))
            for module in own:
                module.training = True
            after = [list(tensors(apply(model, x))) for _ in range(TIMES if own else 0)]
    except Exception:  # a user's own code
        return False
    return not _differ(before, again) and any(_differ(before, each) for each in after)


def _differ(outputs: list[Tensor], others: list[Tensor]) -> bool:
    """Whether tensors of the same shape and type have other values; those of others are outputs of another kind."""
    alike = [(one, other) for one, other in zip(outputs, others, strict=False) if one.shape == other.shape]
    return any(
        one.dtype == other.dtype and not torch.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True)
        for one, other in alike
    )
