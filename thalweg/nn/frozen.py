"""Pretrained weights: load them from a file, and hold a part of a network still."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from thalweg.core.errors import RecipeError, did_you_mean

SHOWN = 5


class Frozen(nn.Module):
    """A module that does not learn: no gradients for its parameters, and batch-norm statistics that stand still.

    `train()` keeps it in evaluation mode, so that dropout is off in it too. Gradients still flow *through* it, to
    whatever learns before it. `declared_frozen` says that this is meant, so that no one reports it as a forgotten
    parameter. Raises `RecipeError` for anything but a module.

    >>> import torch
    >>> frozen = Frozen(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))).train()
    >>> any(p.requires_grad for p in frozen.parameters()), frozen.module.training
    (False, False)
    >>> frozen(torch.zeros(2, 3)).shape
    torch.Size([2, 5])
    """

    declared_frozen: ClassVar[bool] = True

    def __init__(self, module: Any) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise RecipeError(
                f"Frozen holds a module still, but it was given {module!r}. Build it first: Frozen(factory()), or "
                "Frozen(pretrained(factory, 'weights.safetensors')())."
            )
        self.module = module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Frozen":
        """Set this module's own mode; what it holds stays in evaluation mode."""
        super().train(mode)
        self.module.eval()
        return self

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.module(*inputs, **named)


@dataclass(frozen=True)
class Pretrained:
    """A factory that builds `factory()` and loads `weights` into it; made by `pretrained`.

    >>> Pretrained(nn.Identity, "best.safetensors")
    Pretrained(factory=<class 'torch.nn.modules.linear.Identity'>, weights='best.safetensors', strict=True, seen=False)
    """

    factory: Callable[[], nn.Module]
    weights: str | Path
    strict: bool = True
    seen: bool = False
    """Whether they were trained on the train split of the recipe itself."""

    def __call__(self) -> nn.Module:
        model = self.factory()
        state = _read(Path(self.weights))
        here = model.state_dict()
        self._check_names(state, here)
        _check_shapes(state, here, self.weights)
        model.load_state_dict(state, strict=False)
        return model

    def _check_names(self, state: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> None:
        read = {_place(name, here) for name in state if name in here}
        missing = [name for name in here if name not in state and _place(name, here) not in read]
        unknown = sorted(name for name in state if name not in here)
        some_fit = len(missing) < len(here)
        if not (missing or unknown) or (not self.strict and some_fit):
            return
        problem = f"The weights in {self.weights} do not fit the model."
        if missing:
            problem += f" The file lacks {_some(missing)}.{_near(missing, unknown)}"
        if unknown:
            problem += f" The model lacks {_some(unknown)}."
        mend = "Build the architecture that the weights were saved from, or rename the file's keys"
        raise RecipeError(
            f"{problem} {mend}" + (", or load what fits by pretrained(..., strict=False)." if some_fit else ".")
        )


def pretrained(
    factory: Callable[[], nn.Module], weights: str | Path, *, strict: bool = True, seen: bool = False
) -> Pretrained:
    """A model factory that starts from the weights of a `.safetensors` file: `Recipe(model=pretrained(build, path))`.

    A weight that is tied in the model may stand in the file under one of its names, as `train` writes it. With
    `strict=False` names that only one side has are passed over, as long as any fits; shapes must always agree. `seen`
    says that they were trained on the recipe's own train split, of which then no part can be held out.
    Raises `RecipeError`, when called, for a file that is missing or is not safetensors, and for names or shapes that do
    not fit.

    >>> import tempfile, torch
    >>> from safetensors.torch import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, f"{folder}/ones.safetensors")
    ...     model = pretrained(lambda: nn.Linear(3, 2), f"{folder}/ones.safetensors")()
    >>> model(torch.ones(1, 3))
    tensor([[3., 3.]], grad_fn=<AddmmBackward0>)
    """
    return Pretrained(factory, weights, strict, seen)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise RecipeError(
            f"The weights file {path} does not exist (looked in {path.absolute().parent}). Give the path of a "
            ".safetensors file, such as a run's checkpoints/best.safetensors."
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise RecipeError(
            f"The weights file {path} is not a safetensors file ({error}). Save the weights by "
            "safetensors.torch.save_file(model.state_dict(), path); pickles are not read."
        ) from error


def _place(name: str, here: Mapping[str, Tensor]) -> tuple[Any, ...]:
    """The same for weights that are tied, and for no others."""
    tensor = here[name]
    return (tensor.data_ptr(), tensor.shape) if tensor.numel() else (name,)


def _check_shapes(state: Mapping[str, Tensor], here: Mapping[str, Tensor], path: str | Path) -> None:
    wrong = [
        f"{name} {tuple(state[name].shape)} in the file, {tuple(tensor.shape)} in the model"
        for name, tensor in here.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if wrong:
        raise RecipeError(
            f"The weights in {path} have other shapes: {_some(wrong, '; ')}. Build the model with the sizes of the "
            "file; to replace only a last layer, load the rest as a module of its own and put the new layer behind it."
        )


def _some(names: Iterable[str], separator: str = ", ") -> str:
    listed = list(names)
    more = f"{separator}and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return separator.join(listed[:SHOWN]) + more


def _near(missing: list[str], unknown: list[str]) -> str:
    near = did_you_mean(missing[0], unknown)
    return near.replace("Did you mean", "Is it").replace("?", ", which the file has?") if "Did" in near else ""
