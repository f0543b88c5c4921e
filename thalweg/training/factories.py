"""What a recipe's factories give: a model that no other run shares, and an optimizer over its parameters."""

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from thalweg.core.description import describe_piece
from thalweg.core.errors import RecipeError, ThalwegError
from thalweg.core.kinds import at_fault, check_arguments, check_name
from thalweg.core.objective import name_of
from thalweg.core.signature import required_arguments
from thalweg.training.fused import KINDS, FusedAdam


def build_model(factory: Callable[[], nn.Module]) -> nn.Module:
    """A model that no other run shares.

    Raises `RecipeError` where the factory fails, returns no module, has nothing to train, or gives the same parameters
    each time it is called.
    """
    try:
        model = factory()
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise RecipeError(
            f"The model factory {name_of(factory)} could not be called without arguments: {error}. Bind them: "
            "model=functools.partial(Net, width=64), or model=lambda: Net(64)."
        ) from error
    if not isinstance(model, nn.Module):
        raise RecipeError(f"The model factory returned a {type(model).__name__}, but it has to return an nn.Module.")
    if _shares_parameters(factory, model):
        raise RecipeError(
            f"The model factory returns the same {type(model).__name__} each time it is called, so that one run would "
            f"go on where another ended. Build the model inside it: model=lambda: {type(model).__name__}(...)."
        )
    return model


def _shares_parameters(factory: Callable[[], nn.Module], model: nn.Module) -> bool:
    """Whether a second call gives the first call's parameters; asked on torch's meta device, which stores nothing."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    statistics = [buffer for module in model.modules() if module.training for buffer in module.buffers(recurse=False)]
    own = {id(tensor) for tensor in (*trained, *statistics)}
    state = torch.get_rng_state()
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = factory()
    except Exception:  # a factory that cannot run on the meta device (it reads values) builds something new
        return False
    finally:
        torch.set_rng_state(state)
    return again is model or any(id(tensor) in own for tensor in (*again.parameters(), *again.buffers()))


def build_optimizer(factory: Callable[..., Any], model: nn.Module, own_loop: Callable[..., None] | None = None) -> Any:
    """The optimizer over a model's parameters; a factory marked `takes_model` is given the model itself.

    For a loop of the user's own it may be any object with `param_groups` and a `step`: one that holds several.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError(
            f"The model {type(model).__name__} has no parameters to train: it has none, or all are frozen "
            "(requires_grad=False). Leave some of them free."
        )
    try:
        optimizer = factory(model) if getattr(factory, "takes_model", False) else factory(model.parameters())
    except ThalwegError:
        raise
    except (TypeError, AttributeError, ValueError) as error:
        _check_bound(factory, model, error)
        raise RecipeError(
            f"The optimizer factory {name_of(factory)} failed: {error}. It is called with the model's parameters, as "
            "torch.optim.Adam is: functools.partial(torch.optim.Adam, lr=1e-3). One that needs the model itself has "
            "the attribute takes_model = True."
        ) from error
    if not hasattr(optimizer, "param_groups") or not hasattr(optimizer, "step"):
        raise RecipeError(
            f"The optimizer factory returned {describe_piece(optimizer)}, which is no torch optimizer: it has no "
            "param_groups, or no step. Give one, such as functools.partial(torch.optim.Adam, lr=1e-3)."
        )
    if own_loop is None and required_arguments(optimizer.step):
        raise RecipeError(
            f"{type(optimizer).__name__}.step asks for a closure, which computes the loss several times in a step. "
            "Write the epoch yourself: Recipe(loop=...), with optimizer.step(closure) in it."
        )
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
        raise RecipeError(
            "The optimizer holds none of the model's parameters, so training would change nothing. Its factory is "
            "given the parameters to update: optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3)."
        )
    fuse(optimizer, model)
    return optimizer


def build_average(factory: Callable[[nn.Module], Any], model: nn.Module) -> Any:
    """The running average of a model's weights.

    Raises `RecipeError` where the factory fails, as for a model that cannot be copied, or gives something else.
    """
    try:
        average = factory(model)
    except ThalwegError:
        raise
    except Exception as error:
        raise RecipeError(
            f"The average {describe_piece(factory)} failed: {error}. It is called with the model, which it copies: "
            "average=thalweg.optim.EMA(0.999)."
        ) from error
    missing = [name for name in ("module", "update", "state_dict", "load_state_dict") if not hasattr(average, name)]
    if missing:
        raise RecipeError(
            f"The average {describe_piece(factory)} returned {describe_piece(average)}, which has no "
            f"{', '.join(missing)}. Give one such as thalweg.optim.EMA(0.999)."
        )
    return average


FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)
"""Optimizers of torch that can update all parameters in one kernel, on the CPU too."""


def fuse(optimizer: Any, model: nn.Module) -> None:
    """Let torch's optimizers update in one kernel where their factory leaves open how: a third of a small step's time.

    Left as they are: sparse gradients, which that kernel does not take, and parameters that are no floating numbers.
    """
    sparse = any(getattr(module, "sparse", False) for module in model.modules())
    if type(optimizer) not in FUSED or sparse:
        return
    for group in optimizer.param_groups:
        open_ = all(group.get(name) in (None, False) for name in ("foreach", "differentiable", "capturable"))
        kinds = {(weight.device.type, weight.is_floating_point()) for weight in group["params"]}
        able = FUSING - {("cuda", True)} if isinstance(optimizer, torch.optim.Adagrad) else FUSING
        if open_ and group.get("fused") is None and group.get("foreach") is None and kinds <= able:
            group["fused"] = True


FUSING = {("cpu", True), ("cuda", True)}
"""The kinds of weights that they take so; Adagrad has no such kernel for CUDA."""


def bare_step(optimizer: Any) -> Callable[[], Any]:
    """The optimizer's step without what torch puts around it for its profiler and compiler: a tenth of a small step.

    Its own step where that is not torch's, was changed (schedulers that count do), or has hooks.
    """
    raw = inspect.unwrap(type(optimizer).step) if type(optimizer) in FUSED and "step" not in vars(optimizer) else None
    if raw is None:
        return lambda: optimizer.step()

    def bare() -> None:
        with torch.no_grad():
            raw(optimizer)

    quick = FusedAdam(optimizer, bare) if type(optimizer) in KINDS else bare

    def step() -> None:
        hooked = any(getattr(optimizer, f"_optimizer_step_{when}_hooks", True) for when in ("pre", "post"))
        if hooked or optimizer.defaults.get("differentiable") or "step" in vars(optimizer):
            optimizer.step()
            return
        quick()

    return step


def _check_bound(factory: Callable[..., Any], model: nn.Module, error: Exception) -> None:
    """Where an argument that is bound to the factory is why it failed, say which."""
    if not isinstance(factory, partial):
        return
    said, bare = f"optimizer={describe_piece(factory)}", partial(factory.func, list(model.parameters()))
    try:
        for name in factory.keywords:
            check_name(bare, name, name_of(bare))
        check_arguments(bare, factory.keywords)
    except RecipeError as wrong:
        raise RecipeError(f"{said}: {wrong}") from error
    if (culprit := at_fault(bare, factory.keywords, str(error))) is not None:
        raise RecipeError(f"{said} is refused: {error}. Give another {culprit}.") from error
