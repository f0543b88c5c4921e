"""The best finished hypotheses of each example and group, and what is handed out of them at the end."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.decode.hypothesis import Hypothesis
from thalweg.decode.tree import Record, tokens_of


class Finished(NamedTuple):
    """The best of each example and group, the best first; a score of minus infinity: there is none."""

    scores: Float[Tensor, "example group rank"]
    totals: Float[Tensor, "example group rank"]
    nodes: Int[Tensor, "example group rank"]

    @classmethod
    def none(cls, examples: int, groups: int, nbest: int, like: Tensor) -> "Finished":
        """As it is before the first step."""
        scores = like.new_full((examples, groups, nbest), -torch.inf)
        return cls(scores, scores.clone(), torch.zeros_like(scores, dtype=torch.int64))

    def joined(self, present: Int[Tensor, " example"], new: "Finished") -> "Finished":
        """With new ones of the examples that are present; of equal scores the earlier one stays before."""
        old = Finished(*(part[present] for part in self))
        scores, totals, nodes = (torch.cat(both, 2) for both in zip(old, new, strict=True))
        order = scores.argsort(stable=True, dim=2, descending=True)[:, :, : self.scores.shape[2]]
        best = Finished(scores.gather(2, order), totals.gather(2, order), nodes.gather(2, order))
        return Finished(*(part.index_copy(0, present, own) for part, own in zip(self, best, strict=True)))


class Place(NamedTuple):
    """A hypothesis that may be handed out, and its node."""

    hypothesis: Hypothesis
    node: int


def handed_out(finished: Finished, record: Record, nbest: int) -> list[list[Place]]:
    """The `nbest` of each example, the best first, no two of the same tokens.

    Each group has an equal share of them, so that `nbest=groups` gives the best of each; what the division leaves over
    comes from the groups whose next is best, and what a group lacks, from the others. An example that finished nothing
    gives what was open last.
    """
    groups = finished.scores.shape[1]
    scores, totals, nodes = (part.flatten(1).tolist() for part in finished)
    paths = record.paths(finished.nodes.flatten(1)) if record.steps else []
    results = []
    for example in range(len(scores)):
        ranked: list[list[Place]] = [[] for _ in range(groups)]
        for rank, score in enumerate(scores[example]):
            if score > -torch.inf:
                group = rank // finished.scores.shape[2]
                tokens, ended = tokens_of(paths[example][rank])
                found = Hypothesis(tokens, score, totals[example][rank], ended, group)
                ranked[group].append(Place(found, nodes[example][rank]))
        results.append(_dealt(ranked, nbest) if any(ranked) else [])
    return results


def _dealt(ranked: list[list[Place]], nbest: int) -> list[Place]:
    """The whole shares, then what each group has next, the best first, then the best of all that is left."""
    taken: dict[tuple[int, ...], Place] = {}

    def take(places: list[Place], most: int) -> None:
        for place in places:
            if most and place.hypothesis.tokens not in taken:
                taken[place.hypothesis.tokens] = place
                most -= 1

    for places in ranked:
        take(places, nbest // len(ranked))
    following = [[place for place in places if place.hypothesis.tokens not in taken] for places in ranked]
    take(sorted((places[0] for places in following if places), key=_rank), nbest - len(taken))
    take(sorted((place for places in following for place in places), key=_rank), nbest - len(taken))
    return sorted(taken.values(), key=_rank)


def _rank(place: Place) -> float:
    return -place.hypothesis.score
