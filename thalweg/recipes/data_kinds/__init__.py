"""Kinds of data: what a recipe in settings has to know of each, one object a kind."""

from thalweg.recipes.data_kinds.kind import Concluded, DataKind, Outputs, check_ending
from thalweg.recipes.data_kinds.known import (
    BUILT_IN,
    KINDS,
    data_parameters,
    encoding_from,
    is_built_in,
    kind_of_source,
    kind_reading,
    load_splits,
)

__all__ = [
    "BUILT_IN",
    "KINDS",
    "Concluded",
    "DataKind",
    "Outputs",
    "check_ending",
    "data_parameters",
    "encoding_from",
    "is_built_in",
    "kind_of_source",
    "kind_reading",
    "load_splits",
]
