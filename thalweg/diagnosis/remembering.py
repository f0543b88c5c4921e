r"""Recurrent layers that begin with a long memory: what torch draws forgets within a few steps.

The recurrence of a plain layer begins orthogonal, so that it neither shrinks nor blows up what came before (Saxe et al.
2014, "Exact solutions to the nonlinear dynamics of learning in deep linear networks"); behind a ReLU it begins as the
identity (Le et al. 2015, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units"). Of gated layers
each unit begins with a memory of its own: for inputs of $T$ steps the bias of what is kept is

$$ b \sim \log U(1, T - 1), $$

and of an LSTM's input gate $-b$ (Tallec & Ollivier 2018, "Can recurrent neural networks warp time?", section 3).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from thalweg.core.description import describe_piece
from thalweg.core.nest import Nest
from thalweg.core.randomness import untouched
from thalweg.core.step import Step
from thalweg.diagnosis.tracing import forward
from thalweg.training import Recipe

Factory = Callable[[], nn.Module]


@dataclass(frozen=True, repr=False)
class Remembering:
    """A model factory whose recurrent layers `names` begin with a memory of as many steps."""

    factory: Factory
    names: tuple[tuple[str, int], ...]

    def __call__(self) -> nn.Module:
        model = self.factory()
        with torch.no_grad():
            for name, steps in self.names:
                remember(model.get_submodule(name), steps)
        return model

    def __repr__(self) -> str:
        return f"{describe_piece(self.factory)}, its recurrence begun to remember"


def remember(layer: Any, steps: int) -> None:
    """Begin a recurrent layer of torch anew, with a memory of at most so many steps.

    >>> lstm = nn.LSTM(3, 50)
    >>> with torch.no_grad():
    ...     remember(lstm, 100)
    >>> forget = (lstm.bias_ih_l0 + lstm.bias_hh_l0)[50:100]
    >>> bool((forget >= 0).all() and (forget < 4.6).all() and forget.std() > 0.4)
    True
    """
    nn.RNNBase.reset_parameters(layer)  # one derived of torch's may have its own, with arguments
    size = layer.hidden_size
    for name, own in layer.named_parameters():
        if name.startswith("weight_hh"):
            for gate in own.split(size):
                if getattr(layer, "nonlinearity", None) == "relu":
                    nn.init.eye_(gate)
                else:
                    nn.init.orthogonal_(gate)
        elif name.startswith("bias"):
            own.zero_()
            if name.startswith("bias_ih"):
                _keep(layer, own, steps)


def _keep(layer: Any, bias: Tensor, steps: int) -> None:
    """The biases of what is kept: of the forget gate against the input gate, of a GRU's update gate."""
    size = layer.hidden_size
    kept = bias.new_empty(size).uniform_(1.0, max(2.0, steps - 1.0)).log()
    if isinstance(layer, nn.LSTM):  # input, forget, cell, output
        bias[:size], bias[size : 2 * size] = -kept, kept
    elif isinstance(layer, nn.GRU):  # reset, update, new
        bias[size : 2 * size] = kept


def remembering(recipe: Recipe, batch: Nest) -> Recipe | None:
    """The recipe whose recurrent layers begin with a memory as long as its inputs; None where it has none.

    >>> from thalweg.core.source import Splits
    >>> x, y = torch.ones(5, 7, 3), torch.ones(5, 7, 4)
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.rnn = nn.GRU(3, 4, batch_first=True)
    ...     def forward(self, x):
    ...         return self.rnn(x)[0]
    >>> remembering(Recipe(data=Splits(train=(x, y)), model=Net, objective=nn.MSELoss()), (x, y)).model.names
    (('rnn', 7),)
    """
    seen = dict[str, int]()
    with untouched():
        model = recipe.model()
        layers = {layer: name for name, layer in model.named_modules() if isinstance(layer, nn.RNNBase)}
        handles = [
            layer.register_forward_pre_hook(
                lambda layer, given, named: seen.update(
                    {layers[layer]: max(_steps(layer, given or (named["input"],)), seen.get(layers[layer], 0))}
                ),
                with_kwargs=True,
            )
            for layer in layers
            if not getattr(layer, "proj_size", 0)
        ]
        done = forward(Step(model, recipe.objective), batch, training=True) if handles else None
        for handle in handles:
            handle.remove()
    return None if done is None or not seen else recipe.but(model=Remembering(recipe.model, tuple(seen.items())))


def _steps(layer: Any, given: tuple[Any, ...]) -> int:
    """The steps of the longest input."""
    if isinstance(given[0], PackedSequence):
        return len(given[0].batch_sizes)
    return int(given[0].shape[1 if layer.batch_first and given[0].dim() == 3 else 0])
