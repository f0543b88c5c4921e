"""Enums that are read by people: the name is what is printed in a word, the value in a sentence."""

from enum import Enum


class Spoken(Enum):
    """An enum whose values are sentences.

    >>> class Light(Spoken):
    ...     RED = "Stop."
    >>> print(Light.RED, Light.RED.sentence)
    RED Stop.
    """

    @property
    def sentence(self) -> str:
        """What it means, as reports print it."""
        return str(self.value)

    def __str__(self) -> str:
        return self.name
