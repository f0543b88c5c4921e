"""Loading pairs of texts: from files to splits that can be trained on, all pairs of a source in one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int

from thalweg.core.arrays import ArraySource
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import notice
from thalweg.core.source import Splits
from thalweg.core.wording import counted
from thalweg.data.holdout import PARTS, hold_out
from thalweg.data.pair_decisions import announce_pairs, announce_splits, choose_unit, choose_units, say_empty
from thalweg.data.pair_encoding import PairEncoding
from thalweg.data.pair_forms import check_targets
from thalweg.data.pair_reading import is_file, partner, read_pairs
from thalweg.data.pair_schema import PairSchema, both, check_missing
from thalweg.data.pair_source import PairSource
from thalweg.data.places import where
from thalweg.data.pronunciations import has_stress, without_stress
from thalweg.data.source_reading import read_sources


def pair_splits(
    source: Any,
    target: Any = None,
    *,
    text: str | int | None = None,
    header: bool | None = None,
    missing: str = "error",
    unit: str | Sequence[str] | None = None,
    size: int | Sequence[int] | None = None,
    fewest: int | Sequence[int] | None = None,
    lower: bool = False,
    longest: int | Sequence[int] | None = None,
    shared: bool = False,
    copying: bool = False,
    stress: bool = True,
    tokens: int | None = None,
    output: str = "text",
    label_order: str = "frequency",
    separator: str = ";",
    letters: bool | None = None,
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    validation_path: Any = None,
    test_path: Any = None,
    seed: int = 0,
) -> Splits:
    r"""The splits of pairs of texts: of a table, JSONL, two parallel files, a pronouncing dictionary, or a frame.

    `target` is the file of the targets, or their column, as `text` is that of the sources (`read_pairs`). `unit` is
    "words", "characters" or "subwords", one for both sides or one for each; by default words where a text has several.
    So are `size`, `fewest` and `longest`, after how many units a text is cut off. `shared` makes one vocabulary of both
    sides, `copying` tells a model what it may copy (`pair_encoding`), `stress=False` takes the digits of stress from
    sounds. `tokens` is how many positions of source and target a training batch may have. `missing` says what becomes
    of pairs that lack a text: "error", "drop", or "keep", which takes it as empty. `output` is what targets are:
    "text", "tree" (brackets over the words of the source; CoNLL-U is read as such), or "set": labels between
    `separator`, put out in the `label_order` of their "frequency" or as "given". `letters` says that a word of a source
    is also what its letters say of it, so that an unknown one is something; None does so for trees over words.

    `validation_path` and `test_path` are files like the first; of parallel files the one of sources, whose partner is
    found by its name, or both. What they do not give is held out, the test split only where neither is given. All pairs
    of a source are in one split. Each split is a `PairSource`.

    >>> import io
    >>> file = io.StringIO("\n".join(f"number {i}\tNummer {i}" for i in range(10)))
    >>> splits = pair_splits(file)
    >>> splits.train, len(splits.validation), len(splits.test)
    (PairSource(6 pairs, 13 characters -> 12 characters), 2, 2)

    Raises `DataError` for data that cannot be used, `RecipeError` for arguments that cannot be; both say the mend.
    """
    check_missing(missing)
    _check_of_sets(output, label_order=label_order, separator=separator)
    frame, names = read_pairs(source, target, text=text, header=header)
    if not stress:
        if not has_stress(frame[names[1]]):
            raise RecipeError(
                f"stress=False takes the digits of stress from sounds, and '{names[1]}' has none. Leave it out."
            )
        frame = without_stress(frame, names)
    frame = complete(frame, names, missing)
    formed: dict[str, Any] = {"output": output, "label_order": label_order, "separator": separator}
    units = _units(frame, names, unit, shared or copying, output)
    sized: dict[str, Any] = {
        "size": _known("size", size, output),
        "fewest": _known("fewest", fewest, output),
        "longest": both("longest", longest),
    }
    formed["letters"] = output == "tree" and units[0] == "words" if letters is None else letters
    read: dict[str, Any] = {"missing": missing, "parallel": is_file(target), "header": header, "stress": stress}
    schema = PairSchema(names, units, lower=_lowered(lower, output), shared=shared, copying=copying,
                        **sized, **read, **formed)  # fmt: skip
    others = {"validation": validation_path, "test": test_path}
    judged = {name: _like(path, schema) for name, path in others.items() if path is not None}
    shares = (0.0 if "validation" in judged else validation_share, 0.0 if judged else test_share)
    return split_pairs(frame, schema, shares=shares, judged=judged, tokens=tokens, seed=seed)


def split_pairs(
    frame: pd.DataFrame,
    schema: PairSchema,
    *,
    shares: tuple[float | int, float | int],
    judged: Mapping[str, pd.DataFrame] | None = None,
    tokens: int | None = None,
    seed: int = 0,
) -> Splits:
    """The splits of pairs that are read: held out in shares of the distinct sources, or `judged` where these are given.

    >>> frame = pd.DataFrame({"source": list("aabbccdd"), "target": list("AaBbCcDd")})
    >>> split_pairs(frame, PairSchema(), shares=(0.25, 0.25)).test
    PairSource(2 pairs, 2 characters -> 4 characters)

    Raises `DataError` and `RecipeError` as `hold_out` does.
    """
    for pairs in (frame, *(judged or {}).values()):
        check_targets(pairs, schema)
    announce_pairs(frame, schema)
    whole = PairSource.unfitted(frame, schema, tokens=tokens)
    splits = whole.dealt(_held(whole, shares, seed))
    assert splits[0] is not None
    for name, other in (judged or {}).items():
        splits[PARTS.index(name)] = PairSource.of(other, splits[0].encoding, tokens=tokens)
    announce_splits(splits, bool(judged))
    return Splits(*splits)


def judged_pairs(data: Any, encoding: PairEncoding, labelled: bool = True) -> PairSource:
    """All pairs of a file in a given encoding, to judge; or without targets all sources, to predict.

    Pairs are read as those of training were: of parallel files give both, or the one of sources. Sources are the lines
    of a file, a list of texts, or the column of a table (`read_sources`); an empty one stays, as an empty sequence.

    >>> encoding = PairEncoding.fit(["ab"], ["b"], PairSchema())
    >>> judged_pairs(["ba", ""], encoding, labelled=False)
    PairSource(2 sources, 2 characters -> 1 character)

    Raises `DataError` for whatever cannot be read.
    """
    if labelled:
        frame = _like(data, encoding.schema)
        check_targets(frame, encoding.schema)
        return PairSource.of(frame, encoding)
    name = encoding.schema.names[0]
    frame = read_sources(data, name)
    say_empty(frame.index[frame[name].isna().to_numpy()])
    return PairSource.of(frame, encoding)


def _units(
    frame: pd.DataFrame, names: tuple[str, str], unit: str | Sequence[str] | None, alike: bool, output: str
) -> tuple[str, str]:
    """The units of both sides: brackets and labels are words to a vocabulary, and so are the leaves of a tree."""
    if output == "text" or alike:
        return choose_units(frame, names, alike) if unit is None else both("unit", unit)
    if unit is None:
        return "words" if output == "tree" else choose_unit(frame, names[0]), "words"
    given = both("unit", unit)
    return given if given[0] != given[1] else (given[0], "words")


def _known(name: str, value: int | Sequence[int] | None, output: str) -> tuple[int | None, int | None]:
    """What a vocabulary knows; one number is that of the sources alone where all brackets or labels should be known."""
    source, target = both(name, value)
    return source, None if output != "text" and not isinstance(value, Sequence) else target


def _check_of_sets(output: str, **said: str) -> None:
    """Refuse what only sets of labels read, where targets are none."""
    usual = {field.name: field.default for field in fields(PairSchema)}
    if output != "set" and (idle := [name for name, value in said.items() if value != usual[name]]):
        raise RecipeError(
            f"{idle[0]}={said[idle[0]]!r} is for sets of labels, but the targets are output={output!r}. Say "
            f"data.output=set (output='set'), or leave {idle[0]} out."
        )


def _lowered(lower: bool, output: str) -> tuple[bool, bool]:
    """On which sides case is dropped: labels keep theirs."""
    return lower, lower and output == "text"


def _like(data: Any, schema: PairSchema) -> pd.DataFrame:
    """The pairs of another file, read as those of training were, under their names."""
    if isinstance(data, list | tuple):
        if len(data) != 2:
            raise DataError(f"{data!r} is not two files. Give the one of the sources and the one of their targets.")
        frame, names = read_pairs(data[0], data[1] if hasattr(data[1], "read") else Path(data[1]))
    elif schema.parallel and isinstance(data, str | Path):
        other = partner(data, schema.names)
        if other is None:
            raise DataError(
                f"Which file holds the targets of {data}? None beside it is called alike with '{schema.names[1]}' for "
                f'\'{schema.names[0]}\'. Give both: ["{data}", "TARGETS"], or to thalweg evaluate --target TARGETS.'
            )
        frame, names = read_pairs(data, other)
    else:
        frame, names = read_pairs(data, header=schema.header, prefer=schema.names)
    frame = frame if schema.stress else without_stress(frame, names)
    return complete(frame, names, schema.missing).rename(columns=dict(zip(names, schema.names, strict=True)))


def complete(frame: pd.DataFrame, names: tuple[str, str], missing: str) -> pd.DataFrame:
    """The pairs that are used: without those that lack a text where these are dropped."""
    gaps = frame[list(names)].isna().to_numpy(dtype=bool)
    lacking = gaps.any(axis=1)
    if not lacking.any() or missing == "keep":
        return frame
    told = [
        f"'{name}' {gap.sum():,} ({where(frame.index, gap, 3)})"
        for name, gap in zip(names, gaps.T, strict=True)
        if gap.any()
    ]
    pairs = counted(int(lacking.sum()), "pair")
    if missing == "drop" and not lacking.all():
        lack = "lacks a text and is" if lacking.sum() == 1 else "lack a text and are"
        notice(f"{pairs} of {len(frame):,} {lack} left out: {', '.join(told)}.")
        return frame.iloc[np.flatnonzero(~lacking)]
    raise DataError(
        f"{pairs} of {len(frame):,} {'lacks a text' if lacking.sum() == 1 else 'lack a text'}: {', '.join(told)}. Fill "
        "them in, or say what happens: data.missing=drop leaves them out, data.missing=keep takes the text as empty."
    )


def _held(whole: PairSource, shares: tuple[float | int, float | int], seed: int) -> list[Int[np.ndarray, " _some"]]:
    """The pairs of each split: distinct sources are dealt at random, so that none is favoured for its many targets."""
    _, first, group = np.unique(whole.groups, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[group]  # numbered as they come in the file
    distinct = ArraySource(torch.arange(len(first)), None)
    held = hold_out(distinct, validation_share=shares[0], test_share=shares[1], seed=seed)
    return [np.flatnonzero(np.isin(place, ids)) for ids in held]
