"""The checks of data: what is wrong with the examples of a recipe, whatever the model makes of them.

Each check tests one mechanism. A check that cannot be asked (no table, no classes, no test data) is left out, and one
that fails is said and left out too: a diagnosis goes on without it.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from thalweg.core.explain import first_line
from thalweg.core.notices import notice
from thalweg.core.source import Indexed, Source
from thalweg.diagnosis.checks.another_kind import (
    other_kind_of_classes,
    other_kind_of_numbers,
    train_tells_less,
    train_tells_less_of_numbers,
)
from thalweg.diagnosis.checks.classes import (
    absent_classes,
    exchanged_labels,
    few_examples,
    neglected_classes,
    one_target,
)
from thalweg.diagnosis.checks.columns import not_finite, placeholders, running_numbers, useless_columns
from thalweg.diagnosis.checks.data_rows import Rows, read_rows
from thalweg.diagnosis.checks.destroyed import destroyed_signal
from thalweg.diagnosis.checks.label_leak import gone_at_test, label_leak
from thalweg.diagnosis.checks.label_noise import far_targets, wrong_labels
from thalweg.diagnosis.checks.made_otherwise import targets_made_otherwise
from thalweg.diagnosis.checks.odd_split import odd_train_of_classes, odd_train_of_numbers
from thalweg.diagnosis.checks.opinions import opinions
from thalweg.diagnosis.checks.scales import input_scale, prepared_otherwise, target_scale
from thalweg.diagnosis.checks.splits_overlap import (
    contradictions,
    nearly_shared,
    shared_groups,
    shared_inputs,
    time_backwards,
)
from thalweg.diagnosis.checks.thrown_away import thrown_away
from thalweg.diagnosis.deadline import check_time
from thalweg.diagnosis.flaw import Flaw
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.training import Recipe, Run

Check = Callable[[], list[Flaw]]
EXPLAIN = frozenset(
    {
        Mechanism.WRONG_LABELS,
        Mechanism.INPUTS_THAT_TELL_THE_TARGET_BUT_NOT_ON_TEST,
        Mechanism.AUGMENTATION_DESTROYS_THE_SIGNAL,
        Mechanism.CLASSES_EXCHANGED_BETWEEN_TRAIN_AND_TEST,
        Mechanism.CLASSES_EXCHANGED_BETWEEN_TRAIN_AND_VALIDATION,
        Mechanism.CLASSES_OF_TEST_THAT_TRAIN_LACKS,
        Mechanism.CLASSES_OF_TRAIN_THAT_TEST_LACKS,
        Mechanism.CLASSES_OF_TRAIN_THAT_VALIDATION_LACKS,
        Mechanism.CLASSES_OF_VALIDATION_THAT_TRAIN_LACKS,
        Mechanism.TEST_PREPARED_OTHERWISE_THAN_TRAIN_FACTOR,
        Mechanism.TEST_PREPARED_OTHERWISE_THAN_TRAIN_NEGATIVES,
        Mechanism.TEST_PREPARED_OTHERWISE_THAN_TRAIN_RANGE,
        Mechanism.TEST_PREPARED_OTHERWISE_THAN_TRAIN_STANDARDIZATION,
        Mechanism.VALIDATION_PREPARED_OTHERWISE_THAN_TRAIN_FACTOR,
        Mechanism.VALIDATION_PREPARED_OTHERWISE_THAN_TRAIN_NEGATIVES,
        Mechanism.VALIDATION_PREPARED_OTHERWISE_THAN_TRAIN_RANGE,
        Mechanism.VALIDATION_PREPARED_OTHERWISE_THAN_TRAIN_STANDARDIZATION,
    }
)
VAGUE = (
    Mechanism.TEST_OF_ANOTHER_KIND_THAN_TRAIN,
    Mechanism.VALIDATION_OF_ANOTHER_KIND_THAN_TRAIN,
    Mechanism.TRAIN_TELLS_LESS_THAN_VALIDATION,
    Mechanism.TRAIN_OF_ANOTHER_KIND_THAN_VALIDATION,
)
"""Mechanisms that say why, and those that say only that splits differ."""


def data_flaws(
    recipe: Recipe, train: Indexed, validation: Indexed, test: Source | None = None, *, run: Run | None = None
) -> tuple[Flaw, ...]:
    """The flaws of the data: of the train split, of the others beside it, of labels, targets, scales and augmentation.

    With a `run` its model is asked too, whether it neglects a class.

    >>> import torch
    >>> from functools import partial
    >>> from thalweg.core.arrays import ArraySource
    >>> from thalweg.core.source import Splits
    >>> x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 0] > 0).long()
    >>> recipe = Recipe(
    ...     data=Splits(train=(x, y)), model=partial(torch.nn.Linear, 3, 2), objective=torch.nn.CrossEntropyLoss()
    ... )
    >>> split = lambda ids: ArraySource((x[ids], y[ids]), 32)
    >>> [flaw.mechanism for flaw in data_flaws(recipe, split(slice(200)), split(slice(150, 300)))]
    ['train examples in validation']
    """
    from threadpoolctl import threadpool_limits

    found: list[Flaw] = []
    with threadpool_limits(1):  # on a busy machine several threads wait for each other
        for check in _checks(recipe, train, validation, test, run):
            check_time()
            found += _asked(check)
    named = {flaw.raises for flaw in found if flaw.mechanism in EXPLAIN}
    return tuple(flaw for flaw in found if flaw.mechanism not in VAGUE or flaw.raises not in named)


def _checks(
    recipe: Recipe, train: Indexed, validation: Indexed, test: Source | None, run: Run | None
) -> Iterator[Check]:
    rows = _told(partial(read_rows, train, "train"))
    if rows is None:
        return
    others = [_told(partial(read_rows, validation, "validation"))]
    others += [] if test is None else [_told(partial(read_rows, test, "test"))]
    judged = [other for other in others if other is not None]
    validation_rows, test_rows = _named(judged)
    for each in (rows, *judged):
        yield partial(not_finite, each)
    yield from (
        partial(check, rows) for check in (placeholders, useless_columns, running_numbers, few_examples, thrown_away)
    )
    yield partial(one_target, recipe, rows)
    yield partial(contradictions, rows)
    for other in judged:
        pairs = (shared_inputs, nearly_shared, time_backwards, absent_classes, prepared_otherwise)
        yield from (partial(check, rows, other) for check in pairs)
        yield partial(shared_groups, rows, other, test_rows)
    yield partial(input_scale, recipe, train, rows)
    yield partial(target_scale, recipe, train, rows)
    yield partial(destroyed_signal, train, rows)
    yield from (partial(check, rows, validation_rows, test_rows) for check in (label_leak, gone_at_test))
    yield partial(far_targets, rows)
    yield from (partial(other_kind_of_numbers, rows, other) for other in judged)
    if validation_rows is not None:
        yield partial(train_tells_less_of_numbers, rows, validation_rows)
        yield partial(odd_train_of_numbers, rows, validation_rows, test_rows)
    yield from (partial(targets_made_otherwise, rows, other) for other in judged)
    known = _told(partial(opinions, rows))
    if known is None:
        return
    yield partial(wrong_labels, known, rows)
    for other in judged:
        yield partial(exchanged_labels, known, other)
        yield partial(other_kind_of_classes, known, other)
        if other.split == "validation":
            yield partial(train_tells_less, known, other)
            yield partial(odd_train_of_classes, known, other, test_rows)
        if run is not None and other.split == "validation":
            yield partial(neglected_classes, run, known, validation, other)


def _named(judged: list[Rows]) -> tuple[Rows | None, Rows | None]:
    by_split = {rows.split: rows for rows in judged}
    return by_split.get("validation"), by_split.get("test")


def _asked(check: Check) -> list[Flaw]:
    found: list[Flaw] | None = _told(check)
    return found or []


def _told(ask: Callable[[], Any]) -> Any:
    """What a question gives; None where it fails, which is said."""
    try:
        return ask()
    except Exception as error:
        name = getattr(getattr(ask, "func", ask), "__name__", "a check")
        notice(f"The check of data {name} could not be asked: {type(error).__name__}: {first_line(error)}")
        return None
