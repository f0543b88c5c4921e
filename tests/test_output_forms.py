"""Pairs whose targets are trees or sets: searches that are held to them, runs, and what is refused."""

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from resuming import bits, broken_off
from sequence_pairs import TARGETS, batch, read, recurrent, small
from sklearn.metrics import f1_score, hamming_loss, jaccard_score
from sklearn.preprocessing import MultiLabelBinarizer

import thalweg
from thalweg.cli import main
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import collecting
from thalweg.core.objective import Moment
from thalweg.core.tokens import END, PADDING
from thalweg.data import PairEncoding, PairSchema, PairSource, judged_pairs, pair_splits
from thalweg.data.bracketed import tree_flaw, tree_tokens
from thalweg.decode import Bracketing, Constrained, Distinct, beam_search, greedy, sample
from thalweg.loss import Bernoulli, IndependentLabels
from thalweg.measure.label_sets import label_sets
from thalweg.nn import rnn
from thalweg.recipes import decoded as searching
from thalweg.recipes.decoded import Decoding, decoded

OPENING, LEAF, CLOSING = [4, 9], 5, 6
NAMES = {4: "(A", 9: "(B", LEAF: "_", CLOSING: ")"}
LEAVES = torch.tensor([3, 1, 0, 4])


def held(model: Any, longest: int) -> Constrained:
    """A model of the four examples whose outputs are trees over 3, 1, 0 and 4 leaves."""
    most = torch.full((4,), longest)
    grammar = Bracketing(TARGETS, opening=OPENING, leaf=LEAF, closing=CLOSING, leaves=LEAVES, longest=most)
    return Constrained(model, grammar)


@pytest.mark.parametrize("made", [recurrent, small])
def test_whatever_a_model_scores_its_outputs_are_trees(made: Any) -> None:
    model, inputs = made(), read(batch())
    for longest in (10, 17):
        found = [[one] for one in greedy(held(model, longest), inputs, longest=longest)]
        found += beam_search(held(model, longest), inputs, width=4, nbest=4, longest=longest)
        generator = torch.Generator().manual_seed(0)
        found += sample(held(model, longest), inputs, draws=5, longest=longest, generator=generator)
        for several, leaves in zip(found, LEAVES.tolist() * 3, strict=True):
            for one in several:
                assert one.finished
                tokens = [NAMES[token] for token in one.tokens]
                assert tree_flaw(tokens, leaves) is None or not (leaves or tokens)


def test_log_likelihoods_are_those_of_the_model_itself() -> None:
    model, inputs = recurrent(), read(batch())
    for one, example in zip(greedy(held(model, 12), inputs, longest=12), range(4), strict=True):
        x = {name: part[example : example + 1] for name, part in inputs.items()}
        prefix = torch.tensor([[2, *one.tokens]])
        with torch.no_grad():
            log_p = model(**x, prefix=prefix)[0].log_softmax(1)
        wanted = log_p[torch.arange(len(one.tokens) + 1), torch.tensor([*one.tokens, END])].sum()
        assert one.log_likelihood == pytest.approx(float(wanted), abs=1e-6)


def test_a_wide_beam_finds_the_likeliest_tree_of_all() -> None:
    model, inputs = recurrent(), {name: part[1:2] for name, part in read(batch()).items()}
    grammar = Bracketing(
        TARGETS, opening=OPENING, leaf=LEAF, closing=CLOSING, leaves=torch.tensor([1]), longest=torch.tensor([5])
    )
    (found,) = beam_search(Constrained(model, grammar), inputs, width=20, nbest=6, length_penalty=0.0, longest=5)
    chains = [[a, LEAF, CLOSING] for a in OPENING]
    chains += [[a, b, LEAF, CLOSING, CLOSING] for a in OPENING for b in OPENING]
    assert sorted(one.tokens for one in found) == sorted(map(tuple, chains))
    assert [one.log_likelihood for one in found] == sorted((one.log_likelihood for one in found), reverse=True)


def test_no_room_ends_an_output_before_its_tree_does() -> None:
    (one, *_) = greedy(held(recurrent(), 3), read(batch()), longest=3)
    assert not one.finished
    assert len(one.tokens) == 3


def test_no_label_comes_twice() -> None:
    model, inputs = recurrent(), read(batch())
    grammar = Distinct(TARGETS, 4)
    for several in beam_search(Constrained(model, grammar), inputs, width=5, nbest=5, longest=30):
        for one in several:
            assert one.finished
            assert len(set(one.tokens)) == len(one.tokens)
            assert min(one.tokens, default=9) > END


def test_the_mass_of_what_cannot_come_goes_to_padding() -> None:
    model = recurrent()
    state = held(model, 9).encode(**read(batch()))
    tokens = torch.full((4,), 2)
    scores, _ = held(model, 9).step(state, tokens)
    plain, _ = model.step(state[0], tokens)
    assert torch.allclose(scores.logsumexp(1), plain.logsumexp(1))
    assert (scores[:, OPENING] == plain[:, OPENING])[[0, 1, 3]].all()
    assert (scores[[0, 1, 3]] > -torch.inf).sum(1).tolist() == [3, 3, 3]  # both brackets, and padding
    assert scores[2].isfinite().nonzero().flatten().tolist() == [PADDING, END]


def test_a_grammar_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(
        RecipeError, match="RecurrentSeq2Seq scores 13 tokens, and the grammar knows 7. Make it for the"
    ):
        greedy(Constrained(recurrent(), Distinct(7, 4)), read(batch()))


# --- sets -------------------------------------------------------------------------------------------------------------


def drawn_sets(count: int, seed: int) -> list[set[str]]:
    draw = random.Random(seed)
    return [set(draw.sample("abcde", draw.randint(0, 3))) for _ in range(count)]


def test_scores_of_sets_are_those_of_scikit_learn_and_so_are_their_draws() -> None:
    given, wanted = drawn_sets(40, 1), drawn_sets(40, 2)
    found = label_sets(given, [[one] for one in wanted], "abcdef")
    table = MultiLabelBinarizer(classes=list("abcdef"))
    w, g = table.fit_transform(wanted), table.transform(given)
    expected = {
        "micro_f1": f1_score(w, g, average="micro"),
        "macro_f1": f1_score(w[:, :5], g[:, :5], average="macro"),  # f is nowhere
        "jaccard": jaccard_score(w, g, average="samples", zero_division=1),
        "hamming_loss": hamming_loss(w, g),
    }
    assert found.scores() == pytest.approx(expected)
    rows = np.random.default_rng(0).integers(40, size=(3, 40))
    drawn = found.resampled(np.stack([np.bincount(row, minlength=40) for row in rows]))
    for place, row in enumerate(rows):
        again = label_sets([given[i] for i in row], [[wanted[i]] for i in row], "abcdef").scores()
        for name, value in again.items():
            assert drawn[name][place] == pytest.approx(value)
    alone = found.resampled(np.eye(40, dtype=int))["macro_f1"]  # draws that lack most labels
    each = [label_sets([given[i]], [[wanted[i]]], "abcdef").scores()["macro_f1"] for i in range(40)]
    assert alone == pytest.approx(each, nan_ok=True)
    assert found.exact.tolist() == [one == other for one, other in zip(given, wanted, strict=True)]


def test_the_nearest_of_several_sets_counts() -> None:
    assert label_sets([{"a"}], [[{"a", "b"}, {"b"}]]).scores()["jaccard"] == 0.5
    assert label_sets([set()], [[{"a"}, set()]]).exact.tolist() == [True]
    with pytest.raises(RecipeError, match="There are|there are 0 lists for 1 outputs"):
        label_sets([{"a"}], [])


def test_one_label_alone_is_judged_too() -> None:
    found = label_sets([{"a"}, set(), {"a"}], [[{"a"}], [{"a"}], [set()]])
    assert found.scores() == pytest.approx({"micro_f1": 0.5, "macro_f1": 0.5, "jaccard": 1 / 3, "hamming_loss": 2 / 3})


def sets(order: str, cells: list[str]) -> PairSource:
    frame = pd.DataFrame({"source": [f"w{i} x" for i in range(len(cells))], "target": cells})
    schema = PairSchema(unit=("words", "words"), output="set", label_order=order, separator="|")
    return PairSource.unfitted(frame, schema).fit(range(len(cells)))


def test_labels_are_put_out_by_frequency_or_as_they_stand() -> None:
    cells = ["rare one|often", "often| rare one |", "", "often|seldom", "seldom|often"]
    by_frequency, given = sets("frequency", cells), sets("given", cells)
    often, seldom, rare = (by_frequency.encoding.target.numbers[label] for label in ("often", "seldom", "rare one"))
    assert [row.tolist()[:-1] for row in by_frequency.encoded.y] == [
        [often, rare], [often, rare], [], [often, seldom], [often, seldom]
    ]  # fmt: skip
    assert given.encoded.y[0].tolist() == [rare, often, END]
    assert by_frequency.text([rare, often, rare, END], 0) == "rare one|often"
    assert not by_frequency.whole([rare, rare], 0)
    assert by_frequency.encoding.formed("rare one|often") == "often rare_one"
    later = PairSource.of(pd.DataFrame({"source": ["x"], "target": ["new|seldom|often"]}), by_frequency.encoding)
    assert later.encoded.y[0].tolist() == [often, seldom, 1, END]  # what is unknown comes last
    again = PairEncoding.from_json(json.loads(json.dumps(given.encoding.to_json())))
    assert again == given.encoding


def test_independent_labels_are_a_bernoulli_of_each() -> None:
    source = sets("frequency", ["a|b", "b", "", "c|a|b"])
    batch = next(source.batches(1, 0, None))
    torch.manual_seed(0)
    model = rnn(source.encoding.outputs, vocabulary=len(source.encoding.source), width=5, cell="gru")
    found = IndependentLabels()(model, batch, Moment())
    labels = torch.tensor([[label in cell.split("|") for label in "bac"] for cell in source.targets])
    assert source.encoding.target.tokens[4:] == ("b", "a", "c")
    with torch.no_grad():
        wanted = Bernoulli(reduction="none")(model(batch[0]["source"], batch[0]["lengths"])[:, 4:], labels)
    assert torch.allclose(found.value, wanted)
    with pytest.raises(RecipeError, match="the targets hold token 6, but the model has 6 outputs"):
        IndependentLabels()(rnn(6, vocabulary=len(source.encoding.source), width=5), batch, Moment())
    tagger = rnn(7, vocabulary=len(source.encoding.source), width=5, head="position")
    with pytest.raises(RecipeError, match=r"IndependentLabels: the output is .* but logits \(batch, tokens\)"):
        IndependentLabels()(tagger, batch, Moment())


# --- from files -------------------------------------------------------------------------------------------------------


def lines(*pairs: tuple[str, str]) -> io.StringIO:
    return io.StringIO("".join(f"{source}\t{target}\n" for source, target in pairs))


GOOD = [(f"the {word} sat", f"(S (NP the {word}) sat)") for word in "abcdefgh"]


@pytest.mark.parametrize(
    ("output", "wrong", "words"),
    [
        ("tree", [("a b", "(S a b")], "The target of line 9 is no tree: '.S a b' leaves 1 bracket open. Write .LABEL"),
        ("tree", [("a b c", "(S a b)")], "line 9 is no tree: .* has 2 leaves, and its source 3 words"),
        ("tree", [("a", "no tree")], "line 9 is no tree: 'no tree' has words outside of its brackets"),
        ("tree", [("a", "(S a))"), ("b", "(S a")], "line 9 is no .* opened. 2 targets are none .lines 9 and 10."),
        ("set", [("a", "x;y;x")], "The target of line 9 is no set: 'x;y;x' names 'x' twice. Name each label of a cell"),
        (
            "set",
            [("a", "x;;y;")],
            "line 9 is no set: 'x;;y;' leaves its label 2 empty, before a ';'. Name each .* once",
        ),
        ("set", [("a", "; y")], "line 9 is no set: '; y' leaves its label 1 empty, before a ';'"),
        ("set", [("a", " ;; ")], "line 9 is no set: .* has a ';' and no label. .* leave a cell without labels empty"),
    ],
)
def test_targets_that_are_none_are_refused_with_their_line(
    output: str, wrong: list[tuple[str, str]], words: str
) -> None:
    good = GOOD if output == "tree" else [(source, "x;y") for source, _ in GOOD]
    with pytest.raises(DataError, match=words):
        pair_splits(lines(*good, *wrong), output=output)
    with pytest.raises(DataError, match=words.replace("line 9", "line 1").replace("lines 9 and 10", "lines 1 and 2")):
        judged_pairs(lines(*wrong), pair_splits(lines(*good), output=output).train.encoding)


def test_names_of_columns_are_taken_for_no_tree() -> None:
    with pytest.raises(
        DataError, match=r"'bracketing' has words outside .* If line 1 names the columns: data.header=t"
    ):
        pair_splits(lines(("english", "bracketing"), *GOOD), output="tree")
    named = pair_splits(lines(("english", "bracketing"), *GOOD), output="tree", header=True)
    assert named.train.schema.names == ("english", "bracketing")
    assert pair_splits(lines(("text", "tree"), *GOOD), output="tree").train.schema.names == ("text", "tree")


def test_trees_of_other_words_than_their_sources_are_said() -> None:
    said = {}
    for name, tree in {"own": "(S The -LRB-b-RRB- c)", "signs": "(S _ _ _)", "other": "(S the dog sat)"}.items():
        with collecting() as told:
            pair_splits(lines(*GOOD, ("the (b) c", tree)), output="tree")
        said[name] = [line for line in told if "other words" in line]
    assert said["own"] == said["signs"] == []
    assert said["other"] == [
        "1 of 9 trees has other words than the source (line 9). Leaves go by their place alone, whatever they say: "
        "see whether sources and trees are out of step."
    ]


def test_an_empty_tree_is_refused_and_an_empty_set_is_none() -> None:
    with pytest.raises(DataError, match="line 9 is no tree: '' is empty"):
        pair_splits(lines(*GOOD, ("a", "")), output="tree", missing="keep")
    splits = pair_splits(lines(*((source, "x") for source, _ in GOOD), ("a", "")), output="set", missing="keep")
    assert sum(len(split) for split in (splits.train, splits.validation, splits.test)) == 9


def test_a_separator_may_stand_behind_the_last_label() -> None:
    cells = [(source, "x;y;" if number % 2 else "x ; y") for number, (source, _) in enumerate(GOOD)]
    ended, plain = (pair_splits(lines(*each), output="set") for each in (cells, [(s, "x;y") for s, _ in GOOD]))
    assert ended.train.encoding.target.tokens == plain.train.encoding.target.tokens
    assert [batch[1].tolist() for batch in ended.train.batches(0, 0, None)] == [
        batch[1].tolist() for batch in plain.train.batches(0, 0, None)
    ]


def test_a_first_line_that_may_name_the_columns_is_said() -> None:
    rows = [(f"a film of {i}", "drama;war" if i % 2 else "comedy") for i in range(12)]
    named, plain = ("plot", "genres"), ("a plot", "drama")
    for first, header, told in ((named, None, True), (named, True, False), (named, False, False), (plain, None, False)):
        with collecting() as notices:
            pair_splits(lines(first, *rows), output="set", header=header)
        assert any("'plot' with 'genres', is read as a pair" in each for each in notices) == told, (first, header)


def test_another_sign_between_labels_is_said() -> None:
    said = {}
    for sign, separator in (("|", ";"), ("|", "|"), ("-", ";")):
        cells = pd.DataFrame({"source": list("abcd") * 3, "target": [f"new{sign}old", "old"] * 6})
        with collecting() as told:
            pair_splits(cells, output="set", separator=separator, seed=0)
        said[sign, separator] = [line for line in told if "No cell has" in line]
    assert said.pop(("|", ";")) == [
        "No cell has ';' between its labels, and 6 of 12 have '|': each cell is taken as one label. If '|' stands "
        "between labels, say so: data.separator='|'."
    ]
    assert list(said.values()) == [[], []]


def test_one_number_says_what_is_known_of_sources_and_all_labels_are() -> None:
    encoding = pair_splits(lines(*GOOD, ("the h sat", "(T the h sat)")), output="tree", fewest=3, size=6).train.encoding
    assert encoding.schema.fewest == (3, None)
    assert encoding.schema.size == (6, None)
    assert set(encoding.source.tokens[4:]) == {"the", "sat"}
    both = pair_splits(lines(*GOOD), output="tree", fewest=[3, 2]).train.encoding
    assert both.schema.fewest == (3, 2)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"output": "trees"}, "output='trees' is not known. Did you mean 'tree'?"),
        ({"output": "set", "label_order": "rare"}, "label_order='rare' is not known. Known: frequency, given."),
        ({"output": "set", "separator": " "}, "separator=' ' is what stands between the labels of a set"),
        ({"label_order": "given"}, "label_order='given' is for sets of labels, but the targets are output='text'"),
        ({"output": "tree", "separator": "|"}, r"separator='\|' is for sets .* Say data.output=set .*, or leave separ"),
        ({"output": "tree", "copying": True, "unit": "words"}, "copying=True is for targets that are texts"),
        ({"output": "set", "shared": True, "unit": "words"}, "shared=True is for targets that are texts"),
        ({"output": "tree", "unit": "words,characters"}, "output='tree' has units of its own, brackets or labels"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        pair_splits(lines(*GOOD), **keys)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(searching, "BESIDE", 4)  # untrained networks go on to the end
    draw = random.Random(0)
    rows = [(" ".join(draw.choices("abcd", k=draw.randint(2, 5))), "") for _ in range(20)]
    trees = dict.fromkeys((source, f"(S (X {source}))") for source, _ in rows)
    Path("trees.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in trees))
    cells = dict.fromkeys((source, ";".join(sorted(set(source.split())))) for source, _ in rows)
    Path("sets.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in cells))
    return tmp_path


QUICK = ("epochs=1", "model.kind=rnn-seq2seq", "model.width=4")


def scores_of(source: str, output: str) -> dict[str, Any]:
    assigned = [part for one in (f"data.output={output}", *QUICK) for part in ("--set", one)]
    assert main(["train", source, *assigned, "--quiet"]) == 0
    (path,) = Path("runs").iterdir()
    scores: dict[str, Any] = json.loads((path / "evaluation.json").read_text())["metrics"]["test"]
    return scores


def test_trees_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = scores_of("trees.tsv", "tree")
    assert set(scores) == {"loss", "accuracy", "exact_match", "bracket_f1", "bracket_precision", "bracket_recall",
                           "unlabelled_f1", "right_branching_f1", "left_branching_f1"}  # fmt: skip
    assert scores["right_branching_f1"]["low"] <= scores["right_branching_f1"]["value"] < 1
    Path("new.txt").write_text("a (b) c d\n\nnew\n")
    capsys.readouterr()
    assert main(["predict", "last", "new.txt", "--beam", "2"]) == 0
    first, empty, last = capsys.readouterr().out.splitlines()
    assert tree_flaw(tree_tokens(first), 4) is None
    assert "-LRB-b-RRB-" in first
    assert empty == ""
    assert tree_flaw(tree_tokens(last), 1) is None
    assert main(["evaluate", "last", "trees.tsv", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["metrics"]) == set(scores)


@pytest.mark.parametrize("output", ["tree", "set"])
def test_trees_and_sets_go_on_to_the_same_bits(folder: Path, output: str) -> None:
    said = [f"data.output={output}", "data.tokens=30", *QUICK, "epochs=2"]
    recipe = thalweg.load(f"{output}s.tsv", assignments=said)
    whole = thalweg.train(recipe, device="cpu")
    again = thalweg.resume(broken_off(recipe, Path("runs"), step=2))
    assert bits(again) == bits(whole)


def test_sets_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = scores_of("sets.tsv", "set")
    assert set(scores) == {"loss", "accuracy", "exact_match", "micro_f1", "macro_f1", "jaccard", "hamming_loss"}
    assert all(one["low"] <= one["value"] <= one["high"] for name, one in scores.items() if name.endswith("f1"))
    capsys.readouterr()
    Path("new.txt").write_text("a b\n")
    assert main(["predict", "last", "new.txt", "--beam", "1"]) == 0
    labels = capsys.readouterr().out.strip().split(";")
    assert len(set(labels)) == len(labels)
    assert main(["report", "last"]) == 0
    (page,) = Path("runs").glob("*/report.html")
    assert "Edits are labels to change, leave out or add." in page.read_text()
    assert "The share of all decisions, a label or not, that are wrong" in page.read_text()


def test_what_is_not_held_to_its_form_is_repaired(folder: Path) -> None:
    recipe = thalweg.load("trees.tsv", data={"output": "tree"}, assignments=list(QUICK))
    source, model = recipe.data.test, recipe.model()
    free = [one for (one,) in decoded(model, source, Decoding(beam=1, constrained=False, longest=9))]
    assert not all(one.whole for one in free)
    for text, one in zip(source.sources, free, strict=True):
        assert tree_flaw(tree_tokens(one.text), len(text.split())) is None
    assert all(one.whole for (one,) in decoded(model, source, Decoding(beam=1)))


def test_conllu_is_read_as_trees_where_these_are_asked_for(folder: Path) -> None:
    words = [("the", 2, "det"), ("cat", 3, "nsubj"), ("sleeps", 0, "root")]
    sentence = "".join(
        f"{i}\t{word}\t_\tT{i}\t_\t_\t{head}\t{name}\t_\t_\n" for i, (word, head, name) in enumerate(words, 1)
    )
    Path("a.conllu").write_text("\n".join(sentence.replace("cat", f"cat{i}") for i in range(9)))
    recipe = thalweg.load("a.conllu", data={"output": "tree"}, assignments=list(QUICK))
    source = recipe.data.train
    assert isinstance(source, PairSource)
    assert source.schema.names == ("sentence", "tree")
    assert source.targets[0].startswith("(root (nsubj the cat")
    new = judged_pairs("a.conllu", source.encoding, labelled=False)
    assert (len(new), new.sources[0]) == (9, "the cat0 sleeps")
    assert not isinstance(thalweg.load("a.conllu").data.train, PairSource)
