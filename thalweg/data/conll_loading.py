"""Loading sentences whose words have tags: from files in CoNLL or CoNLL-U to splits that can be trained on."""

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thalweg.core.errors import DataError
from thalweg.core.notices import notice
from thalweg.core.source import Splits
from thalweg.core.tokens import NO_TARGET
from thalweg.core.wording import counted
from thalweg.data.conll import NOT_TAGGED, Conll, read_conll, read_words
from thalweg.data.encoding import Encoding
from thalweg.data.holdout import PARTS, hold_out
from thalweg.data.places import listed, where
from thalweg.data.ragged import Ragged
from thalweg.data.schema import Schema, Target, TargetKind
from thalweg.data.sequence_encoding import SequenceEncoding, SequenceSchema
from thalweg.data.sequence_source import SequenceSource
from thalweg.data.table import Table
from thalweg.data.table_source import TableSource

NAMES = {"train": ("train",), "validation": ("dev", "valid", "val"), "test": ("test",)}
DOCUMENT = "document"
"""The column of a frame that says which document a sentence is of."""
ENDINGS = (".conllu", ".conll", ".conllu.gz", ".conll.gz", ".iob", ".bio")


def conll_splits(
    path: Any,
    *,
    validation_path: Any = None,
    test_path: Any = None,
    tokens_column: int | None = None,
    tags_column: int | None = None,
    size: int | None = None,
    fewest: int | None = None,
    lower: bool = True,
    longest: int | None = None,
    tokens: int | None = None,
    documents: bool = True,
    validation_share: float | int = 0.2,
    test_share: float | int = 0.2,
    seed: int = 0,
) -> Splits:
    r"""The splits of sentences with a tag for each word: of a file, or of a folder with files named train, dev, test.

    What `validation_path` and `test_path` do not give is held out of the sentences of `path`, or is None where the
    other was given. Where the file marks `documents` (`# newdoc`, `-DOCSTART-`), each is held out as a whole, and
    intervals resample documents; False deals single sentences. Columns count from 1 (`read_conll`); `size`, `fewest`
    and `lower` are those of the words' vocabulary (small letters, for capitals are in the shape of a word); `longest`
    cuts sentences off; `tokens` is how many positions a training batch may have. A word tagged `_` has no target. Each
    split is a `SequenceSource`.

    >>> import io
    >>> file = io.StringIO("The DET\ncat NOUN\n\nA DET\ndog NOUN\n\n" * 10)
    >>> conll_splits(file).train
    SequenceSource(12 sentences, 4 words, classification, outputs 2 a word)

    Raises `DataError` for files that cannot be used, `RecipeError` for arguments that cannot be; both say the mend.
    """
    paths = _paths(path, validation_path, test_path)
    read = {
        name: read_conll(one, tokens=tokens_column, tags=tags_column) for name, one in paths.items() if one is not None
    }
    target = _target(read["train"])
    parts = 1 + (validation_share > 0) + (test_share > 0) if len(read) == 1 else 1
    grouped = documents and _by_document(read["train"], parts)
    schema = Schema((), target, group=DOCUMENT if grouped else None)
    of_words, of_tags = columns = read["train"].columns
    sequences = SequenceSchema("words", schema, None, "words", size, fewest, lower, longest, columns)
    notice(
        f"Column {of_words} holds the words and column {of_tags} their tags: "
        f"{len(target.labels)} classes ({', '.join(map(str, target.labels[:5]))}{', ...' * (len(target.labels) > 5)})."
    )
    whole = _source(read["train"].frame, sequences, SequenceEncoding(sequences), tokens)
    if len(read) == 1:
        held = hold_out(whole, validation_share=validation_share, test_share=test_share, seed=seed)
        splits = whole.dealt(held)
    else:
        fitted = whole.fit(np.arange(len(whole)))
        others = [read[name].frame if name in read else None for name in PARTS[1:]]
        splits = [
            fitted,
            *(None if one is None else _source(one, sequences, fitted.encoding, tokens) for one in others),
        ]
    _announce(splits)
    return Splits(*splits)


def judged_sentences(data: Any, encoding: SequenceEncoding, labelled: bool = True) -> SequenceSource:
    r"""All sentences of a file in a given encoding, or lists of words: to judge, or without tags, to predict.

    >>> import io
    >>> encoding = conll_splits(io.StringIO("The DET\ncat NOUN\n\nA DET\ndog NOUN\n\n" * 10)).train.encoding
    >>> judged_sentences([["A", "cat"]], encoding, labelled=False)
    SequenceSource(1 sentence, 4 words, classification, outputs 2 a word)

    Raises `DataError` for files that cannot be read, and tags that training never saw.
    """
    if isinstance(data, list) and not labelled:
        frame = pd.DataFrame({"tokens": pd.Series(data, dtype=object)})
        empty = np.array([len(sentence) == 0 for sentence in data], dtype=bool)
        if not len(data) or empty.any():
            raise DataError(f"{'Sentences' if len(data) else 'There'} are none: give lists of words, none empty.")
        return _source(frame, encoding.schema, encoding, None)
    columns = encoding.schema.columns or (1, 2)
    read = read_conll(data, tokens=columns[0], tags=columns[1]) if labelled else read_words(data, columns)
    if labelled and encoding.schema.group is not None and DOCUMENT not in read.frame:
        notice("The file marks no documents, as the one trained on does: intervals resample its sentences one by one.")
    return _source(read.frame, encoding.schema, encoding, None)


def _paths(path: Any, validation: Any, test: Any) -> dict[str, Any]:
    """The file of each split; a folder's by their names."""
    if not isinstance(path, str | Path) or not Path(path).expanduser().is_dir():
        return {"train": path, "validation": validation, "test": test}
    folder = Path(path).expanduser()
    files = sorted(file for file in folder.iterdir() if file.name.lower().endswith(ENDINGS))
    found = {
        name: [file for file in files if any(word in file.name.lower() for word in words)]
        for name, words in NAMES.items()
    }
    for name, candidates in found.items():
        if len(candidates) > 1:
            raise DataError(
                f"{folder} has several files for {name}: {listed([file.name for file in candidates])}. Give the files "
                "one by one."
            )
    if not found["train"]:
        held = f" It has {listed([file.name for file in files])}." if files else ""
        raise DataError(f"{folder} has no file named train with the ending .conllu or .conll.{held} Give a file.")
    first = {name: candidates[0] if candidates else None for name, candidates in found.items()}
    return {"train": first["train"], "validation": validation or first["validation"], "test": test or first["test"]}


def _by_document(read: Conll, splits: int) -> bool:
    """Whether sentences go by document: where these are marked, and enough of them; both are said."""
    if DOCUMENT not in read.frame:
        return False
    count = read.frame[DOCUMENT].nunique()
    if count < splits:
        notice(f"The file marks {counted(count, 'document')}, too few for {splits} splits: they go by sentence.")
        return False
    notice(
        f"The file marks {counted(count, 'document')}: the sentences of one stay together. documents=false deals "
        "single sentences."
    )
    return True


def _target(read: Conll) -> Target:
    counts = Counter(chain.from_iterable(read.frame["tags"]))
    counts.pop(NOT_TAGGED, None)
    if len(counts) < 2:
        held = f"the only tag {next(iter(counts))!r}" if counts else f"no tag but {NOT_TAGGED!r}"
        raise DataError(
            f"Column {read.columns[1]} holds {held}, so that there is nothing to learn. Name another: tags_column=N."
        )
    if len(counts) > 500 and 2 * len(counts) > counts.total():
        raise DataError(
            f"Column {read.columns[1]} holds {len(counts):,} different tags for {counts.total():,} words, such as "
            f"{next(iter(counts))!r}, so that it is no column of tags. Name another: tags_column=N."
        )
    return Target(("tag",), TargetKind.CLASSES, tuple(sorted(counts)))


def _source(
    frame: pd.DataFrame, schema: SequenceSchema, encoding: SequenceEncoding, tokens: int | None
) -> SequenceSource:
    """All sentences of a frame; one that was read without tags has none."""
    n = len(frame)
    group = frame[DOCUMENT].to_numpy(dtype=str) if schema.group is not None and DOCUMENT in frame else None
    table = Table(schema.table, np.zeros((n, 0)), np.zeros((n, 0), dtype=np.int64), frame.index, group=group)
    about = TableSource(frame, table, Encoding(schema.table, (), (), ()), np.arange(n))
    content = list(frame["tokens"])
    tags = _tags(frame, schema) if "tags" in frame else None
    if tags is None:
        tags = Ragged.of([np.full(len(sentence), NO_TARGET) for sentence in content], np.int64)
    return SequenceSource(content, about, encoding, tags, tokens=tokens)


def _tags(frame: pd.DataFrame, schema: SequenceSchema) -> Ragged:
    place = {label: i for i, label in enumerate(schema.target.labels)} | {NOT_TAGGED: NO_TARGET}
    unknown = np.array([any(tag not in place for tag in tags) for tags in frame["tags"]], dtype=bool)
    if unknown.any():
        held = sorted({tag for tags in frame["tags"] for tag in tags if tag not in place})
        raise DataError(
            f"The sentences at {where(frame.index, unknown, 3)} hold the tags {listed(held, 5)}, which the training "
            f"sentences never do ({listed(list(map(str, schema.target.labels)), 8)}). Correct them, or check "
            "tags_column."
        )
    return Ragged.of([[place[tag] for tag in tags] for tags in frame["tags"]], np.int64)


def _size(split: SequenceSource) -> str:
    held = f"{counted(len(split), 'sentence')} of {int(split.lengths.sum()):,} words"
    groups = split.meta(np.arange(len(split))).get("group")
    return held if groups is None else f"{held} in {counted(len(np.unique(groups)), 'document')}"


def _announce(splits: list[SequenceSource | None]) -> None:
    said = []
    for name, split in zip(PARTS, splits, strict=True):
        said.append(f"{name} {'none' if split is None else _size(split)}")
    notice(f"Split: {'; '.join(said)}.")
    for name, split in zip(PARTS, splits, strict=True):
        if split is not None:
            split.announce(name)
            if split.tags is not None and (untagged := int((split.targets.values == NO_TARGET).sum())):
                notice(
                    f"{untagged:,} words of the {name} split have the tag {NOT_TAGGED!r}: they are not learned from."
                )
