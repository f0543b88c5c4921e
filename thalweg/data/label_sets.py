"""Targets that are sets of labels, in one cell: `sci-fi;comedy`, put out one label after the other.

The order in which labels are put out is that of training: the most frequent label first (Yang et al., "SGM: Sequence
Generation Model for Multi-Label Classification", 2018, section 2.2), or as they stand in the cell. What a set is does
not depend on it.
"""

from collections.abc import Iterable, Mapping


def labels_in(text: str, separator: str = ";") -> list[str]:
    """The labels of a cell as they come; a separator may stand behind the last one, too.

    >>> labels_in("science  fiction; comedy;")
    ['science fiction', 'comedy']
    """
    return [part for part in _parts(text, separator) if part]


def set_flaw(text: str, separator: str = ";") -> str | None:
    """What is wrong with a cell that should hold a set, in words of an error; None where nothing is.

    >>> set_flaw("comedy;drama;comedy")
    "names 'comedy' twice"
    >>> set_flaw("comedy;;drama"), set_flaw(";"), set_flaw("comedy;drama;")
    ("leaves its label 2 empty, before a ';'", "has a ';' and no label", None)
    """
    parts = _parts(text, separator)
    if not any(parts):
        return f"has a {separator!r} and no label" if text.strip() else None
    if "" in parts:
        return f"leaves its label {parts.index('') + 1} empty, before a {separator!r}"
    seen: set[str] = set()
    for label in parts:
        if label in seen:
            return f"names '{label}' twice"
        seen.add(label)
    return None


def _parts(text: str, separator: str) -> list[str]:
    """What stands before and between separators, and behind the last where that is not blank."""
    parts = [" ".join(part.split()) for part in text.split(separator)]
    return parts if parts[-1] else parts[:-1]


def in_order(labels: Iterable[str], numbers: Mapping[str, int]) -> list[str]:
    """Each label once: those that are known by their numbers, which go by frequency, then the others.

    >>> in_order(["new", "comedy", "drama", "comedy"], {"drama": 4, "comedy": 5})
    ['drama', 'comedy', 'new']
    """
    return sorted(set(labels), key=lambda label: (label not in numbers, numbers.get(label, 0), label))
