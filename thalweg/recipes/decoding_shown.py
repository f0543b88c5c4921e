"""What the report shows of texts that a model put out, as plain values: the worst, where it looked, how it searched.

Edits, alignments, attention and the tree of a beam search are measured here, once, when a run is concluded; the page is
made of them without a model (`decoding.json`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from thalweg.core.decoder import is_attentive
from thalweg.core.errors import ThalwegError
from thalweg.core.nest import map_tensors, to_device
from thalweg.core.tokens import END, PADDING, START
from thalweg.data import SpeechSource
from thalweg.decode import BeamTree, Hypothesis, beam_search
from thalweg.measure.texts import Edits, aligned, edits
from thalweg.recipes.alignment_shown import AnySource, in_order_shown, pooled, positions_of, stacked_by
from thalweg.recipes.decoded import longest_of
from thalweg.recipes.output_forms import held_to_form

WORST, LONGEST = 10, 200
"""Worst examples that are kept, and units of a text that are compared unit by unit."""
MOST_UNITS, BEAMS, DROPPED, DEEPEST = 24, 5, 2, 14
"""Units of a map's side; beams of the tree, beginnings that a step dropped which it shows, and its steps."""
TRIED = 8
"""Examples that are searched until one shows what a beam is for."""


def decoding_shown(
    model: nn.Module,
    source: AnySource,
    compared: tuple[Sequence[str], Sequence[Sequence[str]]],
    device: torch.device,
    unit: str,
    in_order: bool = False,
) -> dict[str, Any]:
    """The counts of edits, the worst examples, and of a few what the model looked at and how it searched.

    `compared` are the output for each source and all its targets, in the form of `encoding.formed`; `unit` is what
    edits count. `in_order` says that alignments are to go forward, so that it is kept how many did.
    """
    texts, references = compared
    found = edits(texts, references, unit)
    shown: dict[str, Any] = {
        "unit": unit,
        "edits": found.distance.tolist(),
        "worst": [_compared(source, texts, references, found, place, unit) for place in worst(found)],
    }
    looks = Looks(model, source, device)
    try:
        chosen = _telling(looks.shape, found)
        shown["attention"] = [
            {"row": place, "right": bool(found.distance[place] == 0), **looks.attention(place, best)}
            for place, ((best, *_), _) in zip(chosen, looks.searched(chosen) if chosen else [], strict=True)
        ]
        shown["tree"] = looks.tree(found)
        if in_order:
            shown["in_order"] = in_order_shown(model, source, texts, found.distance.tolist(), device)
    except (ThalwegError, RuntimeError, ValueError, TypeError, AttributeError):
        pass  # a model of someone's own may refuse what is asked
    return shown


def worst(found: Edits) -> list[int]:
    """The places of the outputs with the most edits for each unit of their reference, first those with the most.

    >>> worst(Edits(np.array([0, 2, 9]), np.array([3, 2, 10])))
    [1, 2]
    """
    share = found.distance / np.maximum(found.length, 1)
    order = np.lexsort((np.arange(len(share)), -found.distance, -share))
    return [int(place) for place in order[:WORST] if found.distance[place]]


def _compared(
    source: AnySource, texts: Sequence[str], references: Sequence[Sequence[str]], found: Edits, place: int, unit: str
) -> dict[str, Any]:
    """An output beside its nearest reference, both in runs of text that an edit touches, or none."""
    each = edits([texts[place]] * len(references[place]), [[one] for one in references[place]], unit)
    nearest = references[place][min(range(len(each.distance)), key=lambda k: (each.distance[k], -each.length[k]))]
    said, wanted = (_cut(text, unit) for text in (texts[place], nearest))
    kept = aligned(said, wanted, unit)
    return {
        "row": place,
        "source": source.sources[place],
        "output": _runs(said, kept[0], unit) + _rest(texts[place], said),
        "reference": _runs(wanted, kept[1], unit) + _rest(nearest, wanted),
        "references": len(references[place]),
        "edits": int(found.distance[place]),
        "length": int(found.length[place]),
    }


def _cut(text: str, unit: str) -> str:
    return " ".join(text.split()[:LONGEST]) if unit == "words" else text[:LONGEST]


def _rest(text: str, cut: str) -> list[list[Any]]:
    return [] if len(cut) == len(text) or cut == " ".join(text.split()) else [["…", True]]


def _runs(text: str, kept: Sequence[bool], unit: str) -> list[list[Any]]:
    """Pieces of a text and whether they are kept, as few as there can be; together they are the text.

    >>> _runs("Haus", [False, True, True, True], "characters")
    [['H', False], ['aus', True]]
    """
    units, runs = text.split() if unit == "words" else list(text), list[list[Any]]()
    for own, same in zip(units, kept, strict=True):
        if runs and runs[-1][1] is same:
            runs[-1][0] += f" {own}" if unit == "words" else own
        else:
            runs.append([f" {own}" if runs and unit == "words" else own, same])
    return runs


def _telling(lengths: Int[np.ndarray, "example side"], found: Edits) -> list[int]:
    """A right output of many units, one that is wrong by a middling share, and the worst; of those that fit a page."""
    fits = (lengths.max(1) <= MOST_UNITS) & (lengths[:, 0] > 0)
    right = np.flatnonzero(fits & (found.distance == 0))
    wrong = np.flatnonzero(fits & (found.distance > 0))
    wrong = wrong[np.argsort((found.distance / np.maximum(found.length, 1))[wrong], kind="stable")]
    chosen = [int(right[np.argmax(lengths[right].sum(1))])] if len(right) else []
    return list(dict.fromkeys([*chosen, *(int(wrong[k]) for k in (len(wrong) // 2, -1) if len(wrong))]))


class Looks:
    """A model that is asked about the sources of a split, one at a time."""

    def __init__(self, model: nn.Module, source: AnySource, device: torch.device) -> None:
        self.model: Any = model
        self.source, self.encoding, self.device = source, source.encoding, device

    @property
    def shape(self) -> Int[np.ndarray, "example side"]:
        """What a map of each example has of columns and rows; a recording fits in any case, for it is pooled."""
        lengths = self.source.lengths
        if not isinstance(self.source, SpeechSource):
            return lengths
        moments = np.minimum(-(-lengths[:, 0] // stacked_by(self.model)), MOST_UNITS)
        return np.stack([moments, lengths[:, 1]], axis=1)

    def inputs(self, places: Sequence[int]) -> Any:
        """Some sources as a batch of the model."""
        return to_device(self.source.inputs(torch.tensor(places)), self.device)

    def searched(self, places: Sequence[int]) -> list[tuple[list[Hypothesis], BeamTree]]:
        """The outputs for some sources, by the beam that predictions have, and the trees of the search."""
        inputs, trees, chosen = self.inputs(places), list[BeamTree](), torch.tensor(places)
        longest = longest_of(self.source, chosen, inputs)
        held = held_to_form(self.model, self.source, longest, chosen)
        found = beam_search(held, inputs, width=BEAMS, nbest=BEAMS, longest=longest, trees=trees)
        return list(zip(found, trees, strict=True))

    def unit(self, token: int, place: int) -> str:
        """A token as it is read."""
        if token == END:
            return "END"
        return self.encoding.unit_text(token, self.source.sources[place]) or self.encoding.target.tokens[token]

    @torch.no_grad()
    def attention(self, place: int, best: Hypothesis) -> dict[str, Any]:
        """What the model looked at in the source for each token of its output, and how far each was a copy."""
        tokens, units = list(best.tokens)[: MOST_UNITS - 1], positions_of(self.model, self.source, place)
        told = [*tokens, END] if len(tokens) == len(best.tokens) and best.finished else tokens
        maps: list[Tensor] = []
        state = self.model.encode(**self.inputs([place]))
        if is_attentive(self.model):
            for token in [START, *tokens][: len(told)]:
                _, state = self.model.step(state, torch.tensor([token], device=self.device))
                maps.append(self.model.attended(state)[0][0, : len(units)])
        units, weights = (
            pooled(units, torch.stack(maps)) if maps and isinstance(self.source, SpeechSource) else (units, maps)
        )
        shown = {
            "source": units,
            "output": [self.unit(token, place) for token in told],
            "weights": [_rounded(row) for row in weights],
        }
        if isinstance(self.source, SpeechSource):
            shown["recording"] = self.source.sources[place]
        if self.encoding.schema.copying and callable(getattr(self.model, "copied", None)):
            prefix = torch.tensor([[START, *tokens]], device=self.device)
            shown["copied"] = _rounded(1 - self.model.copied(**self.inputs([place]), prefix=prefix)[1][0, : len(told)])
        return shown

    @torch.no_grad()
    def tree(self, found: Edits) -> dict[str, Any] | None:
        """The search of one short example: where the best output was not always the best beginning, if there is one."""
        lengths = self.shape
        fitting = np.flatnonzero(
            (lengths[:, int(isinstance(self.source, SpeechSource)) :].max(1) <= DEEPEST) & (lengths[:, 0] > 0)
        )
        order = fitting[np.lexsort((-lengths[fitting, 1], found.distance[fitting] > 0))][:TRIED].tolist()
        if not order:
            return None
        first: tuple[int, list[Hypothesis], BeamTree] | None = None
        for place, (outputs, tree) in zip(order, self.searched(order), strict=True):
            first = first or (place, outputs, tree)
            end = tree.ends[0]
            if end is not None and end[0] < DEEPEST and _overtook(tree, end):
                first = (place, outputs, tree)
                break
        return None if first is None else self._drawn(*first)

    def _drawn(self, place: int, outputs: list[Hypothesis], tree: BeamTree) -> dict[str, Any]:
        """The tree up to the step at which its last output ended; a search goes on until none could be better."""
        depth = min(DEEPEST, 1 + max((end[0] for end in tree.ends if end is not None), default=0))
        tree, steps = BeamTree(tree.levels[:depth], tree.ends), len(tree.levels)
        levels = [
            [
                {
                    "token": self.unit(node.token, place),
                    "parent": node.parent,
                    "log_likelihood": _short(node),
                    "kept": True,
                }
                | ({"ended": True} if node.finished else {})
                for node in level
            ]
            for level in tree.levels
        ]
        for level, lost in zip(levels, self._dropped(place, tree), strict=True):
            level += lost
        text = self.source.text
        return {
            "row": place,
            "source": self.source.sources[place],
            "references": self.source.references([place])[0],
            "levels": levels,
            "steps": steps,
            "outputs": [
                {"text": text(each.tokens, place), "score": round(each.score, 4), "end": list(end)}
                for each, end in zip(outputs, tree.ends, strict=True)
                if end is not None
            ],
        }

    def _dropped(self, place: int, tree: BeamTree) -> list[list[dict[str, Any]]]:
        """Of each step the likeliest beginnings that found no place in the beam."""
        dropped = []
        before: list[tuple[int | None, list[int], float]] = [(None, [], 0.0)]
        for number, level in enumerate(tree.levels):
            kept = {(node.parent, node.token) for node in level}
            scores = self._next([tokens for _, tokens, _ in before], place)
            totals = scores + torch.tensor([total for *_, total in before])[:, None]
            order = totals.flatten().argsort(descending=True)[: len(kept) + DROPPED].tolist()
            lost = [(before[at // scores.shape[1]], at % scores.shape[1], float(totals.flatten()[at])) for at in order]
            dropped.append(
                [
                    {
                        "token": self.unit(token, place),
                        "parent": own[0],
                        "log_likelihood": round(total, 4),
                        "kept": False,
                    }
                    for own, token, total in lost
                    if (own[0], token) not in kept
                ][:DROPPED]
            )
            paths = [[node.token for node in tree.path((number, at))] for at in range(len(level))]
            before = [
                (at, path, node.log_likelihood)
                for at, (node, path) in enumerate(zip(level, paths, strict=True))
                if not node.finished
            ]
            if not before:
                break
        return dropped + [[] for _ in range(len(tree.levels) - len(dropped))]

    def _next(self, beginnings: Sequence[Sequence[int]], place: int) -> Tensor:
        """The log-probabilities of what comes after beginnings of one length, START and padding ruled out."""
        rows = len(beginnings)
        inputs = map_tensors(lambda tensor: tensor.expand(rows, *tensor.shape[1:]), self.inputs([place]))
        prefix = torch.tensor([[START, *tokens] for tokens in beginnings], device=self.device)
        scores: Tensor = self.model(**inputs, prefix=prefix)[:, -1].log_softmax(1).double().cpu()
        scores[:, [PADDING, START]] = -torch.inf
        return scores


def _overtook(tree: BeamTree, end: tuple[int, int]) -> bool:
    """Whether what came out best was not the likeliest beginning at some step before its last."""
    level, place = end
    while (parent := tree.levels[level][place].parent) is not None:
        level, place = level - 1, parent
        if place:
            return True
    return False


def _short(node: Any) -> float:
    return round(node.log_likelihood, 4)


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.double().cpu().tolist()]
