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

    >>> argument_names(lambda width, *, depth=2, **more: None)
    ['width', 'depth']
    """
    return list(named_parameters(function))


def named_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that can be given by name, with their defaults and annotations."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: parameter for name, parameter in parameters_of(function).items() if parameter.kind in named}


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The arguments that can be left out, with what they are then.

    >>> defaults_of(lambda width, *, depth=2: None)
    {'depth': 2}
    """
    parameters = named_parameters(function).items()
    return {name: parameter.default for name, parameter in parameters if parameter.default is not parameter.empty}


def takes_any_name(function: Callable[..., Any]) -> bool:
    """Whether `function` has `**arguments`, or cannot be asked.

    >>> takes_any_name(lambda width, **more: None), takes_any_name(lambda width: None)
    (True, False)
    """
    kinds = {parameter.kind for parameter in parameters_of(function).values()}
    return not kinds or inspect.Parameter.VAR_KEYWORD in kinds


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a callable, none where Python cannot tell; of a built module those of its forward."""
    if hasattr(function, "state_dict") and not isinstance(function, type):
        function = getattr(function, "forward", function)
    try:
        return dict(inspect.signature(function, eval_str=True).parameters)
    except NameError:  # an annotation that is imported for type checkers alone
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}
