"""Decisions about pairs: what was decided on the user's behalf, and what a model does not see, said in a line each."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from thalweg.core.notices import notice
from thalweg.core.wording import counted
from thalweg.data.bracketed import leaves
from thalweg.data.columns import FEW_WORDS, usual_words
from thalweg.data.holdout import PARTS
from thalweg.data.label_sets import labels_in
from thalweg.data.pair_schema import SIDES, PairSchema
from thalweg.data.pair_source import PairSource
from thalweg.data.places import where
from thalweg.data.ragged import Ragged
from thalweg.data.text_table import texts_of
from thalweg.data.vocabulary import unknown_share

SAMPLE = 10_000
LONG, MUCH_LONGER = 2000, 20
"""Units from which a text is long, and how many times the median it is then."""

SEPARATORS, FEW_SETS = (";", "|", ","), 10
"""What may stand between labels, and the share of cells with another one from which it is said, as one of so many."""


def choose_unit(frame: pd.DataFrame, name: str) -> str:
    """The unit of the sources where targets have one of their own, which is said."""
    usual = usual_words(texts_of(frame[:: max(1, len(frame) // SAMPLE)], name))
    unit = "words" if usual >= FEW_WORDS else "characters"
    notice(f"'{name}' has {usual:g} words a text, by the median: read as {unit} (data.unit says which).")
    return unit


def choose_units(frame: pd.DataFrame, names: tuple[str, str], alike: bool) -> tuple[str, str]:
    """The unit of each side, which is said: words where a text has several; one for both where they must be `alike`.

    >>> frame = pd.DataFrame({"word": ["cat", "house"], "sounds": ["K AE T", "HH AW S"]})
    >>> choose_units(frame, ("word", "sounds"), False)
    ('characters', 'words')
    """
    step = max(1, len(frame) // SAMPLE)
    usual = [usual_words(texts_of(frame[::step], name)) for name in names]
    wordy = [words >= FEW_WORDS for words in usual]
    if alike:
        wordy = [all(wordy)] * 2
    source, target = ("words" if many else "characters" for many in wordy)
    told = [
        f"'{name}' has {words:g} words a text, by the median: read as {unit}"
        for name, words, unit in zip(names, usual, (source, target), strict=True)
    ]
    notice(f"{'; '.join(told)} (data.unit says words, characters or subwords, one or two).")
    return source, target


def announce_pairs(frame: pd.DataFrame, schema: PairSchema) -> None:
    """Say which texts are empty, which pairs occur more than once, and how many sources have several targets."""
    names = list(schema.names)
    for side, name in zip(SIDES, names, strict=True):
        if (empty := frame[name].isna().to_numpy(dtype=bool)).any():
            is_empty = f"{side} is" if empty.sum() == 1 else f"{side}s are"
            notice(f"{empty.sum():,} {is_empty} empty and kept so ({where(frame.index, empty, 3)}).")
    again = frame.duplicated(names).to_numpy()
    if again.any():
        occur = "pair occurs" if again.sum() == 1 else "pairs occur"
        notice(f"{again.sum():,} {occur} a second time or more ({where(frame.index, again, 3)}): all are kept.")
    targets = frame[~again].groupby(names[0], sort=False, dropna=False).size()
    if several := int((targets > 1).sum()):
        have = "has" if several == 1 else "have"
        notice(f"{several:,} of {counted(len(targets), 'source')} {have} several targets.")
    if schema.output == "set":
        _say_separator(texts_of(frame, names[1]), schema.separator)
        _say_first_line(frame, schema)
    if schema.output == "tree":
        other = np.array([_other_words(*pair) for pair in zip(*(texts_of(frame, name) for name in names), strict=True)])
        if other.any():
            notice(
                f"{other.sum():,} of {counted(len(frame), 'tree')} {'has' if other.sum() == 1 else 'have'} other words "
                f"than the source ({where(frame.index, other, 3)}). Leaves go by their place alone, whatever they say: "
                "see whether sources and trees are out of step."
            )


def _other_words(source: str, tree: str) -> bool:
    """Whether most leaves of a tree differ from the words of its source; one sign for all words says nothing."""
    words, found = source.replace("-LRB-", "(").replace("-RRB-", ")").split(), leaves(tree)
    same = sum(one.lower() == other.lower() for one, other in zip(words, found, strict=False))
    return len(set(found)) > 1 and 2 * same < len(found)


def _say_separator(cells: Sequence[str], separator: str) -> None:
    """Say where no cell has the separator of labels and a tenth or more have another."""
    if any(separator in cell for cell in cells):
        return
    shares = {other: sum(other in cell for cell in cells) for other in SEPARATORS}
    other = max(shares, key=lambda each: shares[each])
    if shares[other] * FEW_SETS >= len(cells) > 0:
        notice(
            f"No cell has {separator!r} between its labels, and {shares[other]:,} of {len(cells):,} have {other!r}: "
            f"each cell is taken as one label. If {other!r} stands between labels, say so: data.separator='{other}'."
        )


def _say_first_line(frame: pd.DataFrame, schema: PairSchema) -> None:
    """Say where the first line was read as a pair and may name the columns: a word, with labels that no other has."""
    if schema.header is not None or frame.index.name != "line" or not len(frame) or frame.index[0] != 1:
        return
    (source, *_), (target, *others) = (texts_of(frame, name) for name in schema.names)
    labels, known = (set(labels_in(text, schema.separator)) for text in (target, schema.separator.join(others)))
    if len(source.split()) == 1 and labels and labels.isdisjoint(known):
        notice(
            f"The first line, {source!r} with {target!r}, is read as a pair, and no other has its labels. If it names "
            "the columns, say so: data.header=true."
        )


def say_empty(lines: pd.Index) -> None:
    """Say which sources to predict from are empty, where there are such.

    >>> from thalweg.core.notices import collecting
    >>> with collecting() as said:
    ...     say_empty(pd.Index([2, 5], name="line"))
    >>> said
    ['2 sources are empty (lines 2 and 5).']
    """
    if len(lines):
        verb = "is" if len(lines) == 1 else "are"
        shown = where(lines, np.ones(len(lines), dtype=bool), 3)
        notice(f"{counted(len(lines), 'source')} {verb} empty ({shown}).")


def announce_splits(splits: Sequence[PairSource | None], given: bool) -> None:
    """Say what each split holds, which sources are in two of them, and what a model does not see."""
    notice(f"Split{'' if given else ' by source'}: {'; '.join(map(_part, PARTS, splits))}.")
    for i, (name, split) in enumerate(zip(PARTS, splits, strict=True)):
        if split is None:
            continue
        for other, earlier in zip(PARTS[:i], splits[:i], strict=True):
            if earlier is not None:
                _say_known(split, name, earlier, other)
        _announce(split, name)


def _say_known(split: PairSource, name: str, earlier: PairSource, other: str) -> None:
    """Say how many pairs of a split have a source that an earlier one has too."""
    known = np.isin(_groups(split), _groups(earlier))
    if count := int(known.sum()):
        notice(
            f"{count:,} of the {counted(len(split), 'pair')} of the {name} split "
            f"{'has' if count == 1 else 'have'} a source that {other} has too: no test of new ones "
            f"({where(split.rows.index, known, 3)})."
        )


def _part(name: str, split: PairSource | None) -> str:
    if split is None:
        return f"{name} none"
    return f"{name} {counted(len(split), 'pair')} of {counted(len(np.unique(_groups(split))), 'source')}"


def _groups(split: PairSource) -> np.ndarray:
    return split.groups[split.ids]


def _announce(split: PairSource, name: str) -> None:
    """Say of one split what is unknown, cut off, very long, or beyond the budget of a batch."""
    read, _, y, _ = split.encoded
    for i, side, tokens in ((0, SIDES[0], read), (1, SIDES[1], y)):
        if tokens is None:
            continue
        own = tokens.take(split.ids)
        if share := unknown_share(own.values if own.values.ndim == 1 else own.values[:, 0]):  # beside its letters
            notice(f"Unknown: {share:.2%} of the {len(own.values):,} tokens of the {side}s of the {name} split.")
        limit = split.schema.longest[i]
        if limit is not None:
            _say_cut(split, i, own, limit, name)
        else:
            _say_long(split, side, own, name)
    beyond = split.lengths.sum(axis=1) > (split.tokens or np.inf)
    if beyond.any():
        is_longer = "pair is" if beyond.sum() == 1 else "pairs are"
        notice(
            f"{beyond.sum():,} {is_longer} longer than data.tokens={split.tokens:,} in the {name} split: a batch each. "
            "data.longest=N cuts them off."
        )


def _say_cut(split: PairSource, i: int, own: Ragged, limit: int, name: str) -> None:
    """Say how many texts are longer than `limit`; only those that fill it are split again."""
    texts, vocabulary = (split.targets, split.encoding.target) if i else (split.sources, split.encoding.source)
    full = np.flatnonzero(own.lengths >= limit)
    cut = sum(len(split.encoding.split(texts[place], i)) > limit for place in full)
    if cut:
        is_cut = f"{SIDES[i]} is" if cut == 1 else f"{SIDES[i]}s are"
        notice(f"{cut:,} {is_cut} cut off after {limit:,} {vocabulary.unit} in the {name} split (data.longest).")


def _say_long(split: PairSource, side: str, own: Ragged, name: str) -> None:
    longest = int(own.lengths.max(initial=0))
    if longest >= LONG and longest > MUCH_LONGER * np.median(own.lengths):
        at = where(split.rows.index, own.lengths == longest, 1)
        notice(
            f"The longest {side} of the {name} split has {longest:,} tokens ({at}), and the memory of attention grows "
            "with the square: data.longest=N cuts it off."
        )
