"""Out of memory: which batch did not fit, and how many of its examples would."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from thalweg.core.errors import RunError
from thalweg.core.explain import is_out_of_memory
from thalweg.core.nest import count_examples, map_tensors, to_device
from thalweg.core.objective import Moment
from thalweg.core.randomness import generator, untouched
from thalweg.core.storage import kept_for_backward
from thalweg.core.wording import counted
from thalweg.training.build import Training

TRIES = 10


def told_size(training: Training, error: Exception) -> Exception:
    """The error with the size of the batch that did not fit and the largest that does, which is tried out.

    Any other error, and one of a batch that cannot be cut, is given back as it is.
    """
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    if not any(map(is_out_of_memory, chain)):
        return error
    batch = next_batch(training)
    size = count_examples(batch)
    training.optimizer.zero_grad(set_to_none=True)
    fits = largest_that_fits(training, batch, size)
    many = f"A batch of {counted(size, 'example')} does not fit into the memory of the {training.device.type}"
    if fits == 0:
        return RunError(f"{many}, and one example does not either: {error}. Take a smaller model, or another device.")
    return RunError(f"{many}; {counted(fits, 'example')} would. Set batch_size={fits} or less.")


def largest_that_fits(training: Training, batch: Any, size: int) -> int:
    """How many examples of a batch, the first ones, go through forward and backward; 0 where not even one does."""
    buffers = {name: value.clone() for name, value in training.step.named_buffers()}
    with untouched():
        fits = largest_between(
            0, size, lambda tried: goes_through(training, map_tensors(partial(_first, count=tried, size=size), batch))
        )
    for name, value in training.step.named_buffers():
        value.copy_(buffers[name])
    return fits


def largest_between(fits: int, fails: int, goes: Callable[[int], bool], tries: int = TRIES) -> int:
    """The largest size that goes, found by halving what lies between one that does and one that does not.

    >>> largest_between(0, 100, lambda size: size <= 37)
    37
    """
    for _ in range(tries):
        tried = (fits + fails) // 2
        if tried <= fits:
            break
        fits, fails = (tried, fails) if goes(tried) else (fits, tried)
    return fits


def _first(tensor: Tensor, count: int, size: int) -> Tensor:
    return tensor[:count] if tensor.dim() and len(tensor) == size else tensor


def goes_through(training: Training, batch: Any) -> bool:
    """Whether a batch goes through forward and backward; any error but one of memory is raised."""
    moment = Moment(training=True, steps=training.moment.steps, generator=generator(0, "trial", device=training.device))
    try:
        training.step.train()(to_device(batch, training.device), moment)[0].backward()
        return True
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        training.step.zero_grad(set_to_none=True)
        if training.device.type == "cuda":
            torch.cuda.empty_cache()


def saved_bytes(training: Training, batch: Any) -> int:
    """The bytes that a forward pass keeps for the backward pass beside the weights, and as much again for gradients."""
    moment = Moment(training=True, generator=generator(0, "trial"))
    return 2 * kept_for_backward(lambda: training.step.train()(batch, moment), training.step.parameters())


def next_batch(training: Training) -> Any:
    """The batch that training draws next, where it stands."""
    at = training.position
    order = generator(training.recipe.seed, "order", at.epoch)
    return next(training.source.batches(at.epoch, at.batch, order))
