"""Listing: which files are the recordings, and what is known of each: by its folder, by its name, or by a table's row.

words/yes/1.wav                     a folder for each class
words/train/yes/1.wav               the same within a folder for each split: train, val or validation, test
recordings/7_theo_12.wav            what is known stands in the name: pattern="{label}_{speaker}_{index}"
recordings.csv                      a column of paths, found from the table's own folder, beside a target
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from thalweg.core.errors import DataError, RecipeError, did_you_mean
from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.audio import ENDINGS, is_recording
from thalweg.data.cells import as_cells, as_numbers, as_texts
from thalweg.data.image_listing import CALLED, CLASS, PATH, SPLIT_FOLDERS, Listing, in_order, together
from thalweg.data.places import listed, where
from thalweg.data.reading import read_table

RULE = re.compile(r"\s*(.+?)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*")
"""A column, a sign, a value."""
PACKED = {".gz", ".tgz", ".tar", ".zip", ".bz2", ".xz", ".7z"}
PART = re.compile(r"\{(\w*)\}")


def list_recordings(
    path: Path, *, pattern: str | None = None, classes: Sequence[str] | None = None, header: bool = True
) -> Listing:
    """The recordings of a folder or of a table of paths, with what is known of each.

    `pattern` makes a column of each of its parts in braces out of the names of the files, without their ending; with a
    / in it, out of their paths below the folder. `classes` are those of training, for folders that are judged.

    Raises `DataError` for a path without recordings, names that do not fit the pattern, folders that are no classes.
    """
    if path.is_file() and not is_recording(path):
        listing = listed_in(read_table(path, header=header), path)
    elif pattern is None:
        return _of_folders(path, classes)
    else:
        listing = list_sounds(path)
    return listing if pattern is None else _named_by(listing, pattern, path)


def list_sounds(path: Path, *more: Path) -> Listing:
    """The recordings of folders, whatever folders they lie in, and single ones: what is predicted needs no class.

    Raises `DataError` where there are none.
    """
    if more:
        return together(map(list_sounds, (path, *more)))
    if not path.exists():
        beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        if str(path) == "-":
            raise DataError("Recordings are not read from the standard input. Give files, folders or a table of paths.")
        raise DataError(f"There is no file or folder {path}.{did_you_mean(path.name, beside)}")
    inside = sorted(path.rglob("*")) if path.is_dir() else [path]
    inside = [item for item in inside if not any(part.startswith(".") for part in item.relative_to(path).parts)]
    sounds = [item for item in inside if is_recording(item) and item.is_file()]
    if not sounds:
        packed = [item.name for item in inside if item.suffix.lower() in PACKED]
        first = f"Unpack {listed(packed, 3)} first. " if packed else ""
        raise DataError(
            f"{path} holds no recordings ({', '.join(ENDINGS)}). {first}Give a folder that does, or a recording."
        )
    root = path if path.is_dir() else path.parent
    others = [str(item.relative_to(root)) for item in inside if item.is_file() and not is_recording(item)]
    if others:
        notice(f"Left out of {path}, as no recordings ({', '.join(ENDINGS)}): {listed(others, 3)}.")
    return Listing(sounds, pd.DataFrame({PATH: [item.relative_to(root).as_posix() for item in sounds]}, dtype=object))


def columns_of(names: Sequence[str], pattern: str) -> pd.DataFrame:
    """The columns that a pattern makes of names; a name that does not fit has none in its row.

    `{label}` stands for one or more signs, as few as will do; `{}` for the same without a column.

    >>> columns_of(["7_theo_12", "x"], "{label}_{speaker}_{}").values.tolist()
    [['7', 'theo'], [None, None]]

    Raises `RecipeError` for a pattern without parts, or with two of one name.
    """
    names_of_parts = PART.findall(pattern)
    columns = [name for name in names_of_parts if name]
    if not columns or len(set(columns)) < len(columns):
        raise RecipeError(
            f"pattern={pattern!r} needs parts in braces, each with a name of its own, such as "
            "'{label}_{speaker}_{index}'."
        )
    texts = [re.escape(text) for text in PART.split(pattern)[::2]]
    groups = [f"(?P<{name}>[^/]+?)" if name else "[^/]+?" for name in names_of_parts]
    whole = re.compile("".join(f"{text}{group}" for text, group in zip(texts, [*groups, ""], strict=True)))
    found = [whole.fullmatch(name) for name in names]
    rows = [[None] * len(columns) if match is None else [match[name] for name in columns] for match in found]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def rows_by(frame: pd.DataFrame, rule: str) -> Bool[np.ndarray, " row"]:
    """Which rows a rule chooses: a column, one of < <= > >= = !=, and a number, or for = and != texts with commas.

    >>> frame = pd.DataFrame({"index": ["3", "12"], "speaker": ["theo", "lucas"]})
    >>> rows_by(frame, "index<5").tolist(), rows_by(frame, "speaker=lucas, anna").tolist()
    ([True, False], [False, True])

    Raises `RecipeError` for what is no rule, `DataError` for a column that is not there or holds no numbers.
    """
    column, sign, value = _parts_of(rule)
    if column not in frame:
        known = list(map(str, frame.columns))
        raise DataError(f"There is no column '{column}' for the rule {rule!r}.{did_you_mean(column, known)}")
    cells = as_cells(frame[column])
    numbers = as_numbers(cells)
    wanted = as_numbers([part.strip() for part in value.split(",")])
    compared = not numbers.text.any() and not wanted.text.any() and not np.isnan(wanted.value).any()
    if sign in ("=", "==", "!="):
        texts = as_texts(cells)
        among = {part.strip() for part in value.split(",")}
        equal = np.isin(numbers.value, wanted.value) if compared else np.array([text in among for text in texts])
        return ~equal if sign == "!=" else equal
    if not compared or len(wanted.value) != 1:
        what = (
            f"{value!r} is no number"
            if wanted.text.any()
            else f"'{column}' holds text in {where(frame.index, numbers.text)}"
        )
        raise DataError(f"The rule {rule!r} compares numbers, but {what}. Use = or != for texts.")
    limit = wanted.value[0]
    return {
        "<": numbers.value < limit,
        "<=": numbers.value <= limit,
        ">": numbers.value > limit,
        ">=": numbers.value >= limit,
    }[sign]


def column_of(rule: str) -> str:
    """The column that a rule is about.

    >>> column_of("speaker_age < 5")
    'speaker_age'

    Raises `RecipeError` for what is no rule.
    """
    return _parts_of(rule)[0]


def names_members(rule: str) -> bool:
    """Whether a rule holds out by names, as "speaker=theo" does, and not by numbers.

    >>> names_members("speaker=theo,anna"), names_members("take=3"), names_members("index<5")
    (True, False, False)
    """
    _, sign, value = _parts_of(rule)
    return sign in ("=", "==", "!=") and not any(_number(name) for name in value.split(","))


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parts_of(rule: str) -> tuple[str, str, str]:
    parts = RULE.fullmatch(rule)
    if parts is None:
        raise RecipeError(
            f"{rule!r} is no rule. Write a column, a sign and a value: 'index<5', or 'speaker=theo,lucas'."
        )
    column, sign, value = parts.groups()
    return column, sign, value


def parts_by(frame: pd.DataFrame, *, test: str | None, validation: str | None = None) -> Int[np.ndarray, " row"] | None:
    """The split of each row by rules: 0, 1 and 2 for train, validation and test; None without a rule.

    >>> parts_by(pd.DataFrame({"index": [3, 12, 5]}), test="index<5", validation="index=5").tolist()
    [2, 0, 1]

    Raises what `rows_by` raises, and `DataError` for a rule that chooses nothing, or leaves nothing to train on.
    """
    part = np.zeros(len(frame), dtype=np.int64)
    for place, rule in ((1, validation), (2, test)):
        if rule is None:
            continue
        chosen = rows_by(frame, rule)
        if not chosen.any():
            raise DataError(f"The rule {rule!r} chooses none of {counted(len(frame), 'row')}. Give another one.")
        if (twice := chosen & (part > 0)).any():
            raise DataError(
                f"The rules {validation!r} and {test!r} both choose {where(frame.index, twice)}. Part them."
            )
        part[chosen] = place
    if not (part == 0).any():
        raise DataError(f"The rules leave none of {counted(len(frame), 'row')} to train on. Choose fewer.")
    return part if part.any() else None


def suggested(names: Sequence[str]) -> str:
    """A pattern that names of files have in common, to be offered; "" where there is none.

    >>> suggested(["7_theo_12", "0_anna_3"])
    '{label}_{b}_{c}'
    """
    for sign in ("_", "-", " "):
        counts = {name.count(sign) for name in names}
        if len(counts) == 1 and (count := counts.pop()):
            return sign.join(["{label}", *(f"{{{letter}}}" for letter in "bcdefgh"[:count])])
    return ""


def recording_column(frame: pd.DataFrame) -> str | None:
    """The first column that holds paths of recordings throughout.

    >>> recording_column(pd.DataFrame({"said": ["one"], "file": ["1.wav"]}))
    'file'
    """
    for name in frame.columns:
        held = [text for text in frame[name] if isinstance(text, str)]
        if held and all(is_recording(Path(one)) for one in held):
            return str(name)
    return None


def listed_in(frame: pd.DataFrame, path: Path) -> Listing:
    """The recordings that a column of a table names, which was read from a path and stands in its folder.

    Raises `DataError` for a table without such a column or without names of columns, and for recordings that are not
    there.
    """
    if (column := recording_column(frame)) is None:
        columns = list(map(str, frame.columns))
        raise DataError(
            f"{path} names no recordings: none of its columns {listed(columns)} holds paths such as sounds/1.wav "
            "throughout. Give a folder of recordings, or a table with such a column."
        )
    if is_recording(Path(column)):
        raise DataError(
            f"The first line of {path} is taken for the names of its columns, and names a recording, '{column}'. Say "
            "data.header=false (header=False) if it is one, or write the names above it."
        )
    if (blank := frame[column].isna().to_numpy()).any():
        raise DataError(
            f"Column '{column}' names no recording in {where(frame.index, blank)}. Fill it, or drop the rows."
        )
    paths = [path.parent / text for text in frame[column]]
    gone = np.array([not one.is_file() for one in paths], dtype=bool)
    if gone.any():
        first = paths[int(np.flatnonzero(gone)[0])]
        raise DataError(
            f"{counted(int(gone.sum()), 'recording')} of {len(paths):,} in column '{column}' cannot be found, such as "
            f"{first} ({where(frame.index, gone, 3)}). Paths count from the folder of the table, "
            f"{path.parent.absolute()}: correct them, or drop the rows."
        )
    return Listing(paths, frame, column)


def _named_by(listing: Listing, pattern: str, root: Path) -> Listing:
    below = [Path(text).with_suffix("").as_posix() for text in listing.frame[listing.column]]
    names = below if "/" in pattern else [Path(text).name for text in below]
    columns = columns_of(names, pattern)
    wrong = columns.iloc[:, 0].isna().to_numpy()
    if wrong.any():
        bad = [names[i] for i in np.flatnonzero(wrong)]
        raise DataError(
            f"{counted(len(bad), 'name')} of {len(names):,} in {root} do not fit pattern={pattern!r}: {listed(bad, 3)}."
            " Rename these files, take them away, or give the pattern that fits."
        )
    if repeated := [name for name in columns if name in listing.frame]:
        raise RecipeError(
            f"pattern={pattern!r} makes a column '{repeated[0]}', which is there. Call the part otherwise."
        )
    columns.index = listing.frame.index
    return replace(listing, frame=pd.concat([listing.frame, columns], axis=1))


def _of_folders(root: Path, classes: Sequence[str] | None) -> Listing:
    listing = list_sounds(root)
    if not root.is_dir():
        raise DataError(f"{root} is a single recording. Give the folder that holds a folder for each class.")
    below = [Path(text).parts for text in listing.frame[PATH]]
    splits = [CALLED.get(parts[0].lower()) for parts in below]
    divided = all(len(parts) > 2 for parts in below) and None not in splits and 0 in splits
    loose = [parts[-1] for parts in below if len(parts) == 1]
    if loose:
        raise _refuse_loose(root, loose, len(below))
    labels = [parts[1] if divided else parts[0] for parts in below]
    own = classes is None
    known = tuple(classes or in_order(sorted(set(labels))))
    if own and len(known) == 1:
        raise DataError(
            f"{root} holds the folder '{known[0]}' alone, but there is a folder for each class, and two at least. Give "
            "the folder that holds the classes' folders, or a pattern of the names: pattern='{label}_{index}'."
        )
    part = np.array(splits, dtype=np.int64) if divided else None
    trained = (
        set(labels)
        if own and part is None
        else {label for label, place in zip(labels, splits, strict=True) if place == 0}
    )
    strange = sorted(set(labels) - (trained if own else set(known)))
    if strange:
        raise DataError(
            f"The folder '{strange[0]}' in {root} is none of the classes that are trained on."
            f"{did_you_mean(strange[0], sorted(trained) if own else known)} Rename it, or take it away."
        )
    if divided:
        called = {place: name for name, place in ((parts[0], CALLED[parts[0].lower()]) for parts in below)}
        notice(f"Split by folder: {'; '.join(f'{SPLIT_FOLDERS[i]} {called[i]}/' for i in sorted(called))}.")
    frame = listing.frame.assign(**{CLASS: np.array(labels, dtype=object)})
    return replace(listing, frame=frame, part=part, labels=known)


def _refuse_loose(root: Path, loose: list[str], count: int) -> DataError:
    if len(loose) < count:
        return DataError(
            f"{root} holds {counted(len(loose), 'recording')} beside its folders of classes, such as "
            f"{listed(loose, 2)}. Put each into the folder of its class, or take it away."
        )
    names = [Path(name).stem for name in loose]
    near = suggested(names)
    pattern = f"pattern='{near}', each part under a name of yours" if near else "pattern='{label}_{index}'"
    tables = [item for item in sorted(root.iterdir()) if item.suffix.lower() in (".csv", ".tsv")]
    table = f" Or give the table that says what they are: {tables[0]}." if tables else ""
    return DataError(
        f"{root} holds {counted(count, 'recording')}, such as {listed(loose, 2)}, but no folders of classes. Put each "
        f"into the folder of its class; or, if their names say it, give {pattern}.{table}"
    )
