"""Doors: public functions that check what they are given themselves, with an error that says the mend."""

from typing import TypeVar

Door = TypeVar("Door")


def no_type_check(door: Door) -> Door:
    """Mark a door, which the type checks of the tests then leave alone; its types stay visible to readers and mypy.

    `typing.no_type_check` would hide them from mypy too. The import hook of the tests goes by the name alone.
    """
    return door
