"""Outputs that are trees or sets: what holds a search to them, and how they are scored."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from thalweg.data import PairEncoding, PairSource, SpeechSource
from thalweg.data.bracketed import CLOSE, LEAF, UNCOUNTED, left_branching, opens, right_branching, spans, tree_tokens
from thalweg.data.label_sets import labels_in
from thalweg.decode import Bracketing, Constrained, Distinct
from thalweg.measure.brackets import Brackets, brackets
from thalweg.measure.label_sets import SCORES, label_sets
from thalweg.training.interval import draws_interval, metric_interval, resampled_counts, wilson

Score = tuple[float, float, float]
FORM_SCORES: Mapping[str, tuple[str, ...]] = {
    "tree": (
        *("bracket_f1", "bracket_precision", "bracket_recall", "unlabelled_f1"),
        *("right_branching_f1", "left_branching_f1"),
    ),
    "set": SCORES,
}
"""The scores of trees and of sets, beside exact matches."""
PER_WORD = 4.0
"""Tokens of a tree for each word where a run was trained before that was counted."""


def tokens_needed(source: PairSource | SpeechSource, places: Int[Tensor, " some"]) -> Int[Tensor, " some"] | None:
    """How many tokens the outputs of some sources may need, where their words say so; None where they do not.

    That is as many for each word as the targets of training had at most.
    """
    if not isinstance(source, PairSource) or source.schema.output != "tree":
        return None
    return ((source.encoding.per_word or PER_WORD) * _words(source, places)).ceil().long()


def held_to_form(
    model: nn.Module, source: PairSource | SpeechSource, longest: Int[Tensor, " some"], places: Int[Tensor, " some"]
) -> nn.Module:
    """The model, whose outputs for these sources are trees or sets where targets are: nothing else can come."""
    if not isinstance(source, PairSource):
        return model
    tokens, device = source.encoding.target.tokens, longest.device
    if source.schema.output == "set":
        return Constrained(model, Distinct(len(tokens), len(longest), device))
    if source.schema.output != "tree":
        return model
    grammar = Bracketing(
        len(tokens),
        opening=labels_of(source.encoding),
        leaf=source.encoding.target.numbers[LEAF],
        closing=source.encoding.target.numbers[CLOSE],
        leaves=_words(source, places).to(device),
        longest=longest,
    )
    return Constrained(model, grammar)


def brackets_of(encoding: PairEncoding) -> list[int] | None:
    """The tokens of a word and of the end of a bracket where targets are trees over the positions of sources.

    None elsewhere, and of a run from before decoders were given them: its weights have no place for what is read there.
    """
    schema, numbers = encoding.schema, encoding.target.numbers
    if schema.output != "tree" or schema.unit[0] != "words" or encoding.per_word is None:
        return None
    return [numbers[LEAF], numbers[CLOSE]]


def labels_of(encoding: PairEncoding) -> list[int]:
    """The tokens of trees that open a bracket, each with its label."""
    return [place for token, place in encoding.target.numbers.items() if opens(token)]


def form_scores(texts: Sequence[str], source: PairSource, places: Sequence[int]) -> dict[str, Score]:
    """Exact matches and the scores of the form that targets have, each with its interval over the sources at `places`,
    whose outputs are `texts`.
    """
    references = source.references(places)
    if source.schema.output == "set":
        return _of_sets(texts, references, source)
    return _of_trees(texts, references, [len(source.sources[place].split()) for place in places])


def _of_trees(texts: Sequence[str], references: Sequence[Sequence[str]], words: Sequence[int]) -> dict[str, Score]:
    """Of brackets with labels, without, and those of trees that branch to one side alone."""
    given, wanted = [tree_tokens(text) for text in texts], [[tree_tokens(one) for one in own] for own in references]
    right = sum(own in several for own, several in zip(given, wanted, strict=True))
    targets = [[spans(one) for one in several] for several in wanted]
    outputs = [spans(one) for one in given]
    labelled, plain = brackets(outputs, targets), brackets(outputs, targets, labelled=False)
    scores = {
        "exact_match": wilson(right, len(texts)),
        "bracket_f1": _over_sentences(labelled, "f1"),
        "bracket_precision": _over_sentences(labelled, "precision"),
        "bracket_recall": _over_sentences(labelled, "recall"),
        "unlabelled_f1": _over_sentences(plain, "f1"),
    }
    for name, branching in (("right_branching_f1", right_branching), ("left_branching_f1", left_branching)):
        made = [_branching(branching, count, several[0]) for count, several in zip(words, wanted, strict=True)]
        scores[name] = _over_sentences(brackets(made, targets, labelled=False), "f1")
    return scores


def _branching(branching: Callable[[int, str], list[str]], words: int, wanted: Sequence[str]) -> list[Any]:
    """The brackets of such a tree, the outermost among them where that of the target counts."""
    counted = wanted[0][1:].upper() not in UNCOUNTED
    return spans(branching(words, "X" if counted else ""))


def _over_sentences(found: Brackets, name: str) -> Score:
    return (getattr(found, name), *metric_interval(lambda ids: getattr(found.take(ids), name), len(found.given)))


def _of_sets(texts: Sequence[str], references: Sequence[Sequence[str]], source: PairSource) -> dict[str, Score]:
    """Of all labels that are known, whatever their order."""
    separator = source.schema.separator
    found = label_sets(
        [set(labels_in(text, separator)) for text in texts],
        [[set(labels_in(one, separator)) for one in several] for several in references],
        list(source.encoding.target.numbers),
    )
    drawn = [found.resampled(counts) for counts in resampled_counts(len(texts), size=found.given.size)]
    scores: dict[str, Score] = {"exact_match": wilson(int(found.exact.sum()), len(texts))}
    for name, value in found.scores().items():
        scores[name] = (value, *draws_interval(np.concatenate([each[name] for each in drawn]).tolist()))
    return scores


def _words(source: PairSource, places: Int[Tensor, " some"]) -> Int[Tensor, " some"]:
    """The words of some sources: what stands between blanks."""
    sources = source.read[0]
    return torch.tensor([len(sources[source.ids[place]].split()) for place in places.tolist()], dtype=torch.int64)
