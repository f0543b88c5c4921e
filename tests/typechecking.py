"""The checker that the tests put on every function of thalweg (see conftest.py): beartype, told about `Self`."""

from typing import Self

from beartype import BeartypeConf, FrozenDict, beartype


class Anything(type):
    """The type of types of which everything is an instance."""

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class SomeSelf(metaclass=Anything):
    """Stands for `Self`, which beartype only understands where it sees the whole class, jaxtyping shows it methods."""


checked = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({Self: SomeSelf})))
