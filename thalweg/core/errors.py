"""What goes wrong, said in three parts: what happened, what was expected, how to mend it."""

import difflib
from collections.abc import Iterable


class ThalwegError(Exception):
    """Any error that thalweg raises on purpose; its message ends with the way to mend it.

    >>> issubclass(RecipeError, ThalwegError)
    True
    """


class RecipeError(ThalwegError, ValueError):
    """The recipe cannot be trained as it is written: a wrong value, name, shape or factory.

    >>> import thalweg
    >>> thalweg.load("digit")
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: There is no subject 'digit': ... Did you mean 'digits'?
    """


class DataError(ThalwegError, ValueError):
    """The data cannot be used as they are: missing, empty, not finite, of the wrong kind.

    >>> import thalweg
    >>> thalweg.Splits(train=None)
    Traceback (most recent call last):
    thalweg.core.errors.DataError: Splits(train=None): there is nothing to train on. ...
    """


class RunError(ThalwegError, RuntimeError):
    """A run folder cannot be read or written, or a run failed.

    >>> import thalweg
    >>> thalweg.load_run("nowhere")
    Traceback (most recent call last):
    thalweg.core.errors.RunError: nowhere is no run folder: it has no run.json. ...
    """


class WriteError(RunError, OSError):
    """A file cannot be written though its place is a good one: a full disk, a limit, a reader that went away.

    >>> issubclass(WriteError, RunError), issubclass(WriteError, OSError)
    (True, True)
    """


class Unsupported(ThalwegError, TypeError):
    """The value cannot do what was asked of it, such as taking a subset of a stream.

    >>> issubclass(Unsupported, TypeError)
    True
    """


MOST_KNOWN = 12


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """The end of an error message: the nearest option, or all of them when none is near.

    >>> did_you_mean("adm", ["adam", "sgd"])
    " Did you mean 'adam'?"
    >>> did_you_mean("zzz", ["adam", "sgd"])
    ' Known: adam, sgd.'
    >>> did_you_mean("zzz", [])
    ''
    """
    known = sorted(set(map(str, options)))
    if near := difflib.get_close_matches(word, known, n=1, cutoff=0.6):
        return f" Did you mean '{near[0]}'?"
    lower = {name.lower(): name for name in known}
    if near := difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6):
        return f" Did you mean '{lower[near[0]]}'?"
    return f" Known: {shortened(known)}." if known else ""


def shortened(names: Iterable[str]) -> str:
    """Names in their order, the first dozen of many.

    >>> shortened(["sgd", "adam"])
    'adam, sgd'
    """
    known = sorted(names)
    return ", ".join(known[:MOST_KNOWN]) + (f" and {len(known) - MOST_KNOWN} more" if len(known) > MOST_KNOWN else "")
