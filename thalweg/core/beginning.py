"""What a model begins with: weights that were trained before, and whether on the same training examples.

A factory that loads weights has `weights`, and `seen` where these were trained on the train split itself: what is then
taken away from train is not new to the model.
"""

from dataclasses import is_dataclass, replace
from functools import partial
from typing import Any

from thalweg.core.errors import Unsupported


def loads_weights(factory: Any) -> Any | None:
    """The factory that loads weights, out of those around it; None where a model begins anew, or none can be seen.

    >>> loads_weights(dict) is None
    True
    """
    while factory is not None and not hasattr(factory, "weights"):
        within = "func" if isinstance(factory, partial) else "factory" if is_dataclass(factory) else ""
        factory = getattr(factory, within, None)
    return factory


def without_weights(factory: Any) -> Any:
    """The same factory, whose models begin anew: of one that loads no weights that can be seen, it itself.

    >>> without_weights(dict) is dict
    True
    """
    if loads_weights(factory) is None:
        return factory
    if isinstance(factory, partial):
        return partial(without_weights(factory.func), *factory.args, **factory.keywords)
    if hasattr(factory, "weights"):
        return getattr(factory, "factory", factory)
    return replace(factory, factory=without_weights(factory.factory))


def has_seen_train(factory: Any) -> bool:
    """Whether the models of a factory begin with weights that were trained on the train split itself."""
    return bool(getattr(loads_weights(factory), "seen", False))


def check_unseen(factory: Any, what: str) -> None:
    """Refuse to hold out a part of train from a model whose weights have seen all of it; `what` says why, and the mend.

    Raises `Unsupported`.
    """
    begun = loads_weights(factory)
    if getattr(begun, "seen", False):
        raise Unsupported(
            f"The model begins with the weights of {getattr(begun, 'weights', None)}, which were trained on this train "
            f"split: {what}"
        )
