"""The tree of a beam search: which hypotheses were kept at each step, and where each came from."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from thalweg.core.tokens import END


@dataclass(frozen=True)
class Node:
    """A hypothesis that was kept: its last token, the place of what it goes on from in the level before, its score.

    `parent` is None on the first level, whose nodes go on from `START`. `log_likelihood` is that of all tokens so far.
    A node of the token `END` is finished, and has no children.

    >>> Node(3, None, -0.5).finished
    True
    """

    token: int
    parent: int | None
    log_likelihood: float
    group: int = 0

    @property
    def finished(self) -> bool:
        """Whether this ends an output."""
        return self.token == END


@dataclass(frozen=True)
class BeamTree:
    """The hypotheses that a search kept at each step, the best of each group first.

    `ends` names the node, (level, place), in which each of the hypotheses that came out ends; None for one without a
    token.

    >>> tree = BeamTree([[Node(5, None, -0.1), Node(6, None, -3.0)], [Node(3, 0, -0.4)]], [(1, 0)])
    >>> [node.token for node in tree.path((1, 0))]
    [5, 3]
    """

    levels: list[list[Node]]
    ends: list[tuple[int, int] | None] = field(default_factory=list)

    def path(self, end: tuple[int, int]) -> list[Node]:
        """The nodes from the first token to this one."""
        level, place = end
        nodes = [self.levels[level][place]]
        while (parent := nodes[-1].parent) is not None:
            level -= 1
            nodes.append(self.levels[level][parent])
        return nodes[::-1]


class Chosen(NamedTuple):
    """What a step keeps, for the examples that are still searched; a log-likelihood of minus infinity: nothing."""

    totals: Float[Tensor, "example beam"]
    parents: Int[Tensor, "example beam"]
    tokens: Int[Tensor, "example beam"]


@dataclass
class Record:
    """All that the steps of a search kept, for all examples of the batch; an example that is done keeps nothing."""

    examples: int
    beams: int
    steps: list[Chosen] = field(default_factory=list)

    def add(self, present: Int[Tensor, " example"], chosen: Chosen) -> None:
        """One more step, of the examples that are present."""
        if len(present) < self.examples:
            totals = chosen.totals.new_full((self.examples, self.beams), -torch.inf)
            blank = chosen.parents.new_zeros(self.examples, self.beams)
            chosen = Chosen(
                totals.index_copy(0, present, chosen.totals),
                blank.index_copy(0, present, chosen.parents),
                blank.index_copy(0, present, chosen.tokens),
            )
        self.steps.append(chosen)

    def paths(self, nodes: Int[Tensor, "example end"]) -> list[list[list[int]]]:
        """The tokens that lead to nodes, each numbered `time * beams + beam`."""
        times, beams = nodes // self.beams, nodes % self.beams
        columns = []
        for time in reversed(range(len(self.steps))):
            _, parents, tokens = self.steps[time]
            within = time <= times
            columns.append(torch.where(within, tokens.gather(1, beams), -1))
            beams = torch.where(within, parents.gather(1, beams), beams)
        table = torch.stack(columns[::-1], 2).tolist()
        return [[[token for token in path if token >= 0] for path in paths] for paths in table]

    def last_open(self, example: int) -> Int[Tensor, " node"]:
        """The nodes of the last step at which an example that finished nothing had hypotheses, the best first."""
        for time in reversed(range(len(self.steps))):
            totals = self.steps[time].totals[example]
            beams = (totals > -torch.inf).nonzero()[:, 0]
            if len(beams):
                return time * self.beams + beams[totals[beams].argsort(descending=True, stable=True)]
        return torch.zeros(0, dtype=torch.int64)

    def total(self, example: int, node: int) -> float:
        """The log-likelihood of a node."""
        return float(self.steps[node // self.beams].totals[example, node % self.beams])

    def tree(self, example: int, groups: int, ends: list[int]) -> BeamTree:
        """The tree of an example, with the nodes in which its hypotheses end."""
        levels: list[list[Node]] = []
        places: list[dict[int, int]] = []
        for totals, parents, tokens in self.steps:
            kept = (totals[example] > -torch.inf).nonzero()[:, 0].tolist()
            if not kept:
                break
            level = []
            for beam in kept:
                parent = places[-1][int(parents[example, beam])] if places else None
                group = beam * groups // self.beams
                level.append(Node(int(tokens[example, beam]), parent, float(totals[example, beam]), group))
            levels.append(level)
            places.append({beam: place for place, beam in enumerate(kept)})
        found = [divmod(end, self.beams) if end >= 0 else None for end in ends]
        return BeamTree(levels, [None if at is None else (at[0], places[at[0]][at[1]]) for at in found])


def tokens_of(path: list[int]) -> tuple[tuple[int, ...], bool]:
    """The tokens of a path without its `END`, and whether it has one."""
    ended = bool(path) and path[-1] == END
    return tuple(path[:-1] if ended else path), ended
