r"""Sets of labels that were put out, against those that were wanted; the order of labels counts nowhere.

$$ F_1^\text{micro} = \frac{2 \sum_l t_l}{\sum_l (g_l + w_l)}, \quad
   F_1^\text{macro} = \frac{1}{L} \sum_l \frac{2 t_l}{g_l + w_l}, \quad
   J = \frac{1}{n} \sum_i \frac{|G_i \cap W_i|}{|G_i \cup W_i|}, \quad
   H = \frac{1}{n L} \sum_i |G_i \triangle W_i| $$

for the sets given $G_i$ and wanted $W_i$ of n examples, and $t_l$, $g_l$, $w_l$ examples in which a label is both,
given, wanted, of L labels. Values are those of scikit-learn for two labels and more (one column is to it two classes);
intervals take the same formulas over draws of the examples, all draws at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from thalweg.measure.references import check_references

SCORES = ("micro_f1", "macro_f1", "jaccard", "hamming_loss")


@dataclass(frozen=True)
class LabelSets:
    """The sets given and wanted of each example, as whether each label is in them.

    >>> found = label_sets([{"a", "b"}, set()], [[{"a"}], [{"b"}]])
    >>> {name: round(value, 3) for name, value in found.scores().items()}
    {'micro_f1': 0.5, 'macro_f1': 0.5, 'jaccard': 0.25, 'hamming_loss': 0.5}
    """

    given: Bool[np.ndarray, "example label"]
    wanted: Bool[np.ndarray, "example label"]

    def scores(self) -> dict[str, float]:
        """Of all examples: F1 over all decisions and as the mean of labels, Jaccard's index, the share of decisions
        that are wrong. A label that is neither given nor wanted has an F1 of 0 and no part in the mean; of two empty
        sets Jaccard's index is 1.
        """
        if not self.given.size:
            return dict.fromkeys(SCORES, float("nan"))
        once = np.ones((1, len(self.given)), dtype=int)
        return {name: float(value[0]) for name, value in self.resampled(once).items()}

    def resampled(self, counts: Int[np.ndarray, "draw example"]) -> dict[str, Float[np.ndarray, " draw"]]:
        """The same scores where each example counts as often as a draw has it; labels not in a draw have no part in it.

        >>> found = label_sets([{"a", "b"}, {"b"}], [[{"a"}], [{"b"}]])
        >>> found.resampled(np.array([[1, 1]]))["micro_f1"].round(6) == round(found.scores()["micro_f1"], 6)
        array([ True])
        """
        met = self._met
        both, any_ = self.given & self.wanted, self.given | self.wanted
        hits, sums = counts @ both[:, met], counts @ (self.given[:, met].astype(int) + self.wanted[:, met])
        union, drawn = any_.sum(1), (sums > 0).sum(1)
        own = np.where(union > 0, both.sum(1) / np.maximum(union, 1), 1.0)
        examples = counts.sum(1)
        return {
            "micro_f1": 2 * hits.sum(1) / np.maximum(sums.sum(1), 1),
            "macro_f1": np.where(drawn > 0, (2 * hits / np.maximum(sums, 1)).sum(1) / np.maximum(drawn, 1), np.nan),
            "jaccard": counts @ own / examples,
            "hamming_loss": counts @ (self.given ^ self.wanted).sum(1) / (examples * max(1, self.given.shape[1])),
        }

    @property
    def exact(self) -> Bool[np.ndarray, " example"]:
        """Whether each set is the wanted one."""
        found: Bool[np.ndarray, " example"] = (self.given == self.wanted).all(1)
        return found

    @property
    def _met(self) -> Bool[np.ndarray, " label"]:
        """The labels that are given or wanted anywhere."""
        found: Bool[np.ndarray, " label"] = (self.given | self.wanted).any(0)
        return found


def label_sets(
    outputs: Sequence[set[str]], references: Sequence[Sequence[set[str]]], labels: Sequence[str] = ()
) -> LabelSets:
    """The sets put out and wanted; of several references the one with the largest Jaccard index counts.

    `labels` are those that are known; what else occurs is added.

    Raises `RecipeError` where outputs and references differ in number, or an output has none.
    """
    check_references(outputs, references, "labels")
    nearest = [
        max(several, key=lambda wanted: len(given & wanted) / len(given | wanted) if given | wanted else 1.0)
        for given, several in zip(outputs, references, strict=True)
    ]
    known = sorted(set(labels).union(*outputs, *nearest))
    place = {label: i for i, label in enumerate(known)}

    def table(sets: Sequence[set[str]]) -> Bool[np.ndarray, "example label"]:
        made = np.zeros((len(sets), len(known)), dtype=bool)
        for row, own in enumerate(sets):
            made[row, [place[label] for label in own]] = True
        return made

    return LabelSets(table(outputs), table(nearest))
