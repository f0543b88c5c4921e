"""Pairs whose targets are trees: words with their letters, how long an output may be, and what is taken by default."""

import io
import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import thalweg
from thalweg.core.errors import RecipeError
from thalweg.core.notices import collecting
from thalweg.core.objective import Moment
from thalweg.core.source import Splits
from thalweg.data import PairEncoding, PairSchema, PairSource, judged_pairs, pair_splits
from thalweg.data.bracketed import tree_flaw, tree_tokens
from thalweg.data.word_hashing import PLACES, hashed
from thalweg.nn.tree_reader import TreeReader
from thalweg.nn.word_features import WordFeatures
from thalweg.recipes import expressed
from thalweg.recipes.decoded import Decoding, decoded, longest_of
from thalweg.recipes.output_forms import brackets_of

TAGGED = "(S (A (T1 {})) (A (T2 {})) (A (T3 {})))"
"""17 tokens for its three words, more than a binary tree has."""


def tagged(count: int = 12, **keys: Any) -> Splits:
    rows = [("the", f"w{i}", "Sat") for i in range(count)]
    text = "".join(f"{' '.join(row)}\t{TAGGED.format(*row)}\n" for row in rows)
    return pair_splits(io.StringIO(text), output="tree", seed=0, **keys)


def test_an_output_may_have_as_many_tokens_a_word_as_those_of_training() -> None:
    encoding = tagged().train.encoding
    tokens = len(tree_tokens(TAGGED.format("a", "b", "c")))
    assert encoding.per_word == tokens / 3 == 17 / 3
    assert PairEncoding.from_json(json.loads(json.dumps(encoding.to_json()))) == encoding
    source = judged_pairs([" ".join("w" * words) for words in (1, 3, 100)], encoding, labelled=False)
    places = torch.arange(3)
    assert longest_of(source, places, source.inputs(places)).tolist() == [6 + 20, 17 + 20, 567 + 20]
    assert longest_of(source, places, source.inputs(places), 7).tolist() == [7, 7, 7]


def test_sources_of_trees_are_words_however_short_they_are() -> None:
    text = "".join(f"w{i}\t(S w{i})\nw{i} eats\t(S w{i} eats)\n" for i in range(9))
    assert pair_splits(io.StringIO(text), output="tree", seed=0).train.schema.unit == ("words", "words")
    spelled = pair_splits(io.StringIO(text), output="tree", unit=("characters", "words"), seed=0)
    assert spelled.train.schema.unit[0] == "characters"


def test_the_limit_is_that_of_those_trained_on_and_only_of_trees() -> None:
    frame = pd.DataFrame({"source": ["a b", "a b c"], "target": ["(S a b)", TAGGED.format("a", "b", "c")]})
    schema = PairSchema(unit=("words", "words"), output="tree")
    assert PairSource.unfitted(frame, schema).fit([0]).encoding.per_word == 2
    assert PairSource.unfitted(frame, PairSchema()).fit([0]).encoding.per_word is None
    texts = PairSource.unfitted(frame, PairSchema()).fit([0])
    assert longest_of(texts, torch.arange(2), texts.inputs(torch.arange(2))).tolist() == [2 * 3 + 20, 2 * 5 + 20]


class Chain(nn.Module):
    """Goes round in `(A (T1 _ ) )`, what trees with a tag around every word need, within one bracket."""

    def __init__(self, encoding: PairEncoding) -> None:
        super().__init__()
        self.round = [encoding.target.numbers[token] for token in ("(A", "(T1", "_", ")", ")")]
        self.begin, self.outputs = encoding.target.numbers["(S"], encoding.outputs

    def encode(self, source: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return torch.full_like(lengths, -1)

    def step(self, state: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = torch.zeros(len(tokens), self.outputs)
        for row, place in enumerate(state.tolist()):
            scores[row, self.begin if place < 0 else self.round[place % 5]] = 9.0
        return scores, state + 1


def test_a_long_sentence_with_a_tag_for_each_word_is_not_broken_off() -> None:
    encoding = tagged().train.encoding
    words = [f"w{i}" for i in range(30)]
    source = judged_pairs([" ".join(words)], encoding, labelled=False)
    ((found,),) = decoded(Chain(encoding), source, Decoding(beam=1))
    assert found.whole
    assert found.text == f"(S {' '.join(f'(A (T1 {word}))' for word in words)})"
    ((short,),) = decoded(Chain(encoding), source, Decoding(beam=1, longest=140))  # four a word, and 20
    assert tree_flaw(tree_tokens(short.text), 30) is None
    assert short.text != found.text


# --- letters ----------------------------------------------------------------------------------------------------------


def test_words_of_trees_have_their_letters_unless_said_otherwise() -> None:
    splits = tagged()
    encoding = splits.train.encoding
    assert encoding.schema.letters
    found = encoding.inputs(["the new Sat", ""])
    assert found["source"].shape == (2, 3, 9)
    assert found["source"][0, :, 0].tolist() == [encoding.source.numbers["the"], 1, encoding.source.numbers["Sat"]]
    assert np.array_equal(found["source"][0, :, 1:], hashed(["the", "new", "Sat"], PLACES))
    assert not found["source"][1].any()
    assert encoding.inputs([""])["source"].shape == (1, 1, 9)
    x, _ = next(splits.train.batches(1, 0, None))
    assert x["source"].shape[2] == 9
    assert not tagged(letters=False).train.encoding.schema.letters
    assert not tagged(unit="characters").train.encoding.schema.letters


def test_the_share_of_unknown_words_is_that_of_words_and_not_of_letters() -> None:
    with collecting() as said:
        tagged()
    (share,) = [line for line in said if line.startswith("Unknown") and "sources of the validation" in line]
    assert share.startswith("Unknown: 33.33% of the ")


def test_letters_keep_their_case_where_words_lose_it() -> None:
    small, same = tagged(lower=True).train.encoding, tagged().train.encoding
    assert "Sat" not in small.source.numbers
    assert torch.equal(small.inputs(["Sat"])["source"][0, 0, 1:], same.inputs(["Sat"])["source"][0, 0, 1:])
    assert not torch.equal(small.inputs(["Sat"])["source"][0, 0, 1:], small.inputs(["sat"])["source"][0, 0, 1:])


def test_words_of_other_pairs_may_have_letters_too() -> None:
    text = "".join(f"the house, number {i}\tdas Haus, Nummer {i}\n" for i in range(20))
    splits = pair_splits(io.StringIO(text), unit="words", letters=True, copying=True, seed=0)
    x, _ = next(splits.train.batches(1, 0, None))
    assert x["source"].shape[1:] == (5, 9)
    assert x["copies"].shape == x["source"].shape[:2]
    assert not pair_splits(io.StringIO(text), unit="words", seed=0).train.encoding.schema.letters
    with pytest.raises(RecipeError, match="letters=True is for sources of words, and unit is 'characters'. Leave"):
        pair_splits(io.StringIO(text), unit="characters", letters=True)


# --- by default -------------------------------------------------------------------------------------------------------


def test_a_leaf_and_an_end_have_the_same_tokens_in_every_fold() -> None:
    splits = tagged()
    source = splits.train
    assert source.encoding.target.tokens[4:6] == ("_", ")")
    assert source.encoding.target.numbers["("[:1] + "T1"] > 5
    assert source.fit([0]).encoding.target.tokens[4:6] == ("_", ")")
    assert brackets_of(source.encoding) == [4, 5]
    assert brackets_of(tagged(unit="characters").train.encoding) is None
    before = source.encoding.to_json()
    del before["per_word"], before["schema"]["letters"]  # as runs were written before there were these
    read = PairEncoding.from_json(before)
    assert brackets_of(read) is None
    assert not read.schema.letters
    old = judged_pairs(["a b c"], read, labelled=False)
    assert longest_of(old, torch.arange(1), old.inputs(torch.arange(1))).tolist() == [4 * 3 + 20]  # as it decoded then


def test_the_default_for_trees_stands_in_its_source_and_reads_letters(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [draw.sample([f"w{i}" for i in range(30)], 3) for _ in range(60)]
    (tmp_path / "trees.tsv").write_text("".join(f"{' '.join(row)}\t{TAGGED.format(*row)}\n" for row in rows))
    recipe = thalweg.load(str(tmp_path / "trees.tsv"), data={"output": "tree"}, assignments=["model.width=4"])
    model = recipe.model()
    assert isinstance(model.reader, TreeReader)
    assert isinstance(model.encoder.embedding, WordFeatures)
    assert model.encoder.embedding.word_dropout > 0
    plain = thalweg.load(
        str(tmp_path / "trees.tsv"),
        data={"output": "tree", "letters": False},
        assignments=["model.width=4", "model.brackets=none"],
    ).model()
    assert plain.reader is None
    assert not isinstance(plain.encoder.embedding, WordFeatures)
    other = thalweg.load(
        str(tmp_path / "trees.tsv"),
        data={"output": "tree"},
        assignments=["model.kind=transformer", "model.width=8", "model.heads=2"],
    ).model()
    assert isinstance(other.encoder.embedding, WordFeatures)
    with pytest.raises(
        RecipeError, match=r"brackets is \[4, 9\], but the data decide them: they are \[4, 5\]. Leave it"
    ):
        thalweg.load(str(tmp_path / "trees.tsv"), data={"output": "tree"}, assignments=["model.brackets=[4,9]"])
    (tmp_path / "texts.tsv").write_text("".join(f"a{i} b\tc d{i}\n" for i in range(9)))
    with pytest.raises(RecipeError, match="--set model.brackets=.*: there are none, for targets are no trees. Leave"):
        thalweg.load(str(tmp_path / "texts.tsv"), assignments=["model.brackets=[4,5]"])


def test_a_decoder_that_is_to_be_given_nothing_is_so_after_a_remedy_too(tmp_path: Path) -> None:
    (tmp_path / "trees.tsv").write_text("".join(f"w{i} b c\t{TAGGED.format(f'w{i}', 'b', 'c')}\n" for i in range(20)))
    said = ["model.width=4", "model.brackets=none"]
    recipe = thalweg.load(str(tmp_path / "trees.tsv"), data={"output": "tree"}, assignments=said)
    assert isinstance(recipe.model, partial)
    usual = thalweg.load(str(tmp_path / "trees.tsv"), data={"output": "tree"}).model
    assert isinstance(usual, partial)
    assert {"width": 128, "dropout": 0.3}.items() <= usual.keywords.items()
    wide = expressed(recipe.but(model=partial(recipe.model, width=6)), recipe).model()
    assert (wide.output.in_features, wide.reader) == (6, None)


@pytest.mark.parametrize("kind", ["rnn-seq2seq", "transformer"])
def test_what_a_decoder_is_fed_of_its_own_is_the_beginning_of_a_tree(tmp_path: Path, kind: str) -> None:
    rows = [[f"w{i}", "b", "c"] for i in range(20)]
    (tmp_path / "trees.tsv").write_text("".join(f"{' '.join(row)}\t{TAGGED.format(*row)}\n" for row in rows))
    assigned = ["objective.wrong_inputs=0.3", "objective.confusable=true", "objective.own_inputs=linear"]
    assigned += [f"model.kind={kind}", "model.width=8", "objective.least_gold=0.0"]
    recipe = thalweg.load(str(tmp_path / "trees.tsv"), data={"output": "tree"}, assignments=assigned)
    objective, encoding = recipe.objective, recipe.data.train.encoding
    x, _ = next(recipe.data.train.batches(1, 0, None))
    fed = objective.fed(recipe.model(), x, Moment(step=99, steps=100, training=True))
    assert (fed != x["prefix"]).any()
    for row in fed.tolist():
        assert tree_flaw(encoding.units(row), 3) is None
    assert "among" not in objective.said()
    assert "among" not in str(objective)
