"""The knobs a network factory can be turned by, checked: counts, a share to drop, names from a table."""

from collections.abc import Iterable

from thalweg.core.errors import RecipeError, did_you_mean


def check_count(network: str, knob: str, value: int, least: int = 1) -> None:
    """Raise `RecipeError` unless `value` is a whole number of at least `least`.

    >>> check_count("mlp", "width", 0)
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: mlp: width is 0, but it must be a whole number of at least 1. ...
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return
    raise RecipeError(
        f"{network}: {knob} is {value!r}, but it must be a whole number of at least {least}. Give for instance "
        f"{knob}={least}."
    )


def check_dropout(network: str, dropout: float, knob: str = "dropout", of: str = "units") -> None:
    """Raise `RecipeError` unless `dropout` is a share in [0, 1), `of` what is silenced."""
    if isinstance(dropout, int | float) and 0 <= dropout < 1:
        return
    raise RecipeError(
        f"{network}: {knob} is {dropout!r}, but it is the share of {of} to silence, at least 0 and below 1. Give for "
        f"instance {knob}=0.2, or {knob}=0.0 for none."
    )


def check_choice(network: str, knob: str, value: str | None, options: Iterable[str | None]) -> None:
    """Raise `RecipeError` unless `value` is one of `options`, naming them all."""
    known = list(options)
    if value in known:
        return
    near = did_you_mean(str(value), [option for option in known if option is not None])
    raise RecipeError(
        f"{network}: {knob} is {value!r}, but it must be one of {', '.join(map(repr, known))}."
        + (near if near.startswith(" Did") else f" Give for instance {knob}={known[0]!r}.")
    )
