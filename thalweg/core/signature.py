"""What a callable asks for: the number of positional arguments it must be given, and the names it knows."""

import inspect
from collections.abc import Callable
from typing import Any

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def required_arguments(function: Callable[..., Any]) -> int:
    """How many positional arguments have no default; those bound by `functools.partial` do not count.

    >>> from functools import partial
    >>> required_arguments(lambda step, steps: 1.0), required_arguments(partial(pow, 2))
    (2, 1)
    """
    parameters = parameters_of(function).values()
    return sum(p.kind in POSITIONAL and p.default is inspect.Parameter.empty for p in parameters)


def argument_names(function: Callable[..., Any]) -> list[str]:
    """The names of the arguments that `function` can be given by name.

    >>> argument_names(lambda width, *, depth=2: None)
    ['width', 'depth']
    """
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in parameters_of(function).items() if parameter.kind in named]


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a callable, none where Python cannot tell; of a module those of its forward."""
    function = getattr(function, "forward", function) if hasattr(function, "state_dict") else function
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}
