"""Texts with sets of labels of which it is known whether labels depend on each other, given the text.

- **bundles**: labels come in bundles of three. A text holds the cue of one bundle twice and those of two others once,
  and its labels are those of the first in .4 of all texts, of either of the others in .3: which it is, no text says.
- **apart**: each label has a cue of its own. A text holds four of these, and each of their labels is in the set in .8
  of all texts, whatever becomes of the others.

In both .4 of the sets can be known, by whoever puts out the likeliest set.
"""

import numpy as np
import pandas as pd
from jaxtyping import Int

LABELS, BUNDLES, IN_BUNDLE, CUES = 12, 10, 3, 4
SHARES, KEPT = (0.4, 0.3, 0.3), 0.8
FILLERS, FILLED = 20, 4
"""Words that say nothing, and how many of them a text has."""

WORLDS = ("bundles", "apart")


def texts_with_labels(world: str, count: int, world_seed: int, seed: int, *, shuffled: bool = False) -> pd.DataFrame:
    """Texts and their sets, in the order of the labels' names, or each in an order of its own.

    `world_seed` says which labels are a bundle, `seed` which texts there are.

    >>> frame = texts_with_labels("bundles", 50, 0, 1)
    >>> frame["target"].str.split(";").map(len).unique().tolist()
    [3]
    """
    bundles, random = bundles_of(world_seed), np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        words, labels = _in_bundles(bundles, random) if world == "bundles" else _apart(random)
        words += [f"w{word}" for word in random.integers(FILLERS, size=FILLED)]
        order = random.permutation(len(labels)) if shuffled else np.argsort(labels)
        source = " ".join(words[place] for place in random.permutation(len(words)))
        rows.append((source, ";".join(f"l{labels[place]:02}" for place in order)))
    return pd.DataFrame(rows, columns=["source", "target"])


def bundles_of(seed: int) -> Int[np.ndarray, "bundle label"]:
    """The labels of each bundle, no two bundles the same.

    >>> bundles_of(0).shape
    (10, 3)
    """
    random, found = np.random.default_rng(seed), set[tuple[int, ...]]()
    while len(found) < BUNDLES:
        found.add(tuple(sorted(random.choice(LABELS, IN_BUNDLE, replace=False).tolist())))
    return np.array(sorted(found))


def _in_bundles(bundles: Int[np.ndarray, "bundle label"], random: np.random.Generator) -> tuple[list[str], list[int]]:
    likely, *others = random.choice(len(bundles), len(SHARES), replace=False).tolist()
    truth = (likely, *others)[random.choice(len(SHARES), p=SHARES)]
    return [f"b{cue}" for cue in (likely, likely, *others)], bundles[truth].tolist()


def _apart(random: np.random.Generator) -> tuple[list[str], list[int]]:
    cued = random.choice(LABELS, CUES, replace=False)
    return [f"c{cue}" for cue in cued], cued[random.random(CUES) < KEPT].tolist()
