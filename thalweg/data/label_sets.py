"""Targets that are sets of labels, in one cell: `sci-fi;comedy`, put out one label after the other.

The order in which labels are put out is that of training: the most frequent label first (Yang et al., "SGM: Sequence
Generation Model for Multi-Label Classification", 2018, section 2.2), or as they stand in the cell. What a set is does
not depend on it.
"""

from collections.abc import Iterable, Mapping


def labels_in(text: str, separator: str = ";") -> list[str]:
    """The labels of a cell as they come; what is empty between separators is none.

    >>> labels_in("science  fiction; comedy;")
    ['science fiction', 'comedy']
    """
    parts = (" ".join(part.split()) for part in text.split(separator))
    return [part for part in parts if part]


def set_flaw(text: str, separator: str = ";") -> str | None:
    """What is wrong with a cell that should hold a set, in words of an error; None where nothing is.

    >>> set_flaw("comedy;drama;comedy")
    "names 'comedy' twice"
    """
    seen: set[str] = set()
    for label in labels_in(text, separator):
        if label in seen:
            return f"names '{label}' twice"
        seen.add(label)
    return None


def in_order(labels: Iterable[str], numbers: Mapping[str, int]) -> list[str]:
    """Each label once: those that are known by their numbers, which go by frequency, then the others.

    >>> in_order(["new", "comedy", "drama", "comedy"], {"drama": 4, "comedy": 5})
    ['drama', 'comedy', 'new']
    """
    return sorted(set(labels), key=lambda label: (label not in numbers, numbers.get(label, 0), label))
