"""CoNLL and CoNLL-U: words and tags as the file has them, splits by sentence, and what is refused."""

import gzip
import io
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import collecting
from thalweg.core.tokens import NO_TARGET, UNKNOWN
from thalweg.data.conll import holds_conll, read_conll, read_words
from thalweg.data.conll_loading import conll_splits, judged_sentences
from thalweg.data.conll_writing import retagged
from thalweg.data.sequence_encoding import SequenceEncoding
from thalweg.data.tag_predictions import tag_frame
from thalweg.data.word_hashing import HASHED, PLACES, hashed, shape

UNIVERSAL = """# newdoc id = d1
# text = don't go.
1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tdo\tdo\tAUX\tVBP\t_\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\t_
3.1\tnow\tnow\tADV\tRB\t_\t_\t_\t_\t_
4\t.\t.\tPUNCT\t.\t_\t3\tpunct\t_\t_

# sent_id = 2
1\t#\t#\tSYM\t#\t_\t2\tdep\t_\t_
2\t1\t1\tNUM\tCD\t_\t0\troot\t_\t_

"""
PLAIN = "the DET\ncat NOUN\n\na DET\ndog NOUN\nsat VERB\n\n" * 10


def read(text: str, **how: Any) -> pd.DataFrame:
    return read_conll(io.StringIO(text), **how).frame


def test_conll_u() -> None:
    frame = read(UNIVERSAL)
    assert frame["tokens"].tolist() == [["do", "n't", "go", "."], ["#", "1"]]
    assert frame["tags"].tolist() == [["AUX", "PART", "VERB", "PUNCT"], ["SYM", "NUM"]]
    assert frame.index.tolist() == [4, 11]
    assert read(UNIVERSAL, tokens=3, tags=5)["tags"].tolist()[1] == ["#", "CD"]


@pytest.mark.parametrize("mark", ["\t", " ", "   "])
def test_plain_columns(mark: str) -> None:
    text = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\n# NNP O\nPeter NNP B-PER".replace(" ", mark)
    frame = read(text)
    assert frame["tokens"].tolist() == [["EU", "rejects"], ["#", "Peter"]] or frame["tokens"].tolist()[1] == ["Peter"]
    assert frame["tags"].tolist()[0] == ["B-ORG", "O"]
    assert read(text, tags=2)["tags"].tolist()[0] == ["NNP", "VBZ"]


def test_line_ends_compression_and_a_byte_order_mark(tmp_path: Path) -> None:
    plain = read(PLAIN)
    assert read(PLAIN.replace("\n", "\r\n")).equals(plain)
    assert read("\ufeff" + PLAIN).equals(plain)
    (tmp_path / "t.conll.gz").write_bytes(gzip.compress(PLAIN.encode()))
    assert read_conll(tmp_path / "t.conll.gz").frame.equals(plain)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a DET\nb\n", "line 2, has 1 column, where line 1 has 2: 'b'"),
        ("a\tDET\nb DET\n", "line 2, has 1 column, where line 1 has 2: 'b DET'. Columns are separated by tabs"),
        ("a\nb\n", "has one column, in line 1 'a'"),
        ("word word " * 8, "line 1, has 16 columns, but CoNLL has 2 to 10"),
        ("# text = a\n\n", "holds no word, only comments and blank lines"),
        ("a\tDET\n\tDET\n", "line 2, has an empty column 1. Write `_`"),
        (
            "".join("\t".join([str(number), word, *"_" * 8]) + "\n" for word in "abc" for number in (1, 2)),
            "line 3, counts its words from 1 again, so that a sentence begins there, but no blank line stands",
        ),
        (
            "".join("\t".join([str(number), word, *"_" * 8]) + "\n" for word in "abc" for number in (0, 1)),
            "line 3, counts its words from 0 again",
        ),
        ("a DET\n" * 20_000, "has no blank line at all, so that 20,000 words would be one sentence"),
        ("a DET\n\n" + "a DET\n" * 20_000, "has no blank line behind line 3, so that 20,000 words"),
        ("", "is empty"),
    ],
)
def test_what_is_no_conll(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(text)


def test_columns_that_are_not_there() -> None:
    with pytest.raises(RecipeError, match="The tags are to be in column 3, but the input has 2 columns. Count from 1."):
        read(PLAIN, tags=3)
    with pytest.raises(RecipeError, match="The tokens are to be in column 0, but"):
        read(PLAIN, tokens=0)
    with pytest.raises(RecipeError, match="The tokens and the tags are both to be in column 2"):
        read(PLAIN, tokens=2)


def test_sniffing() -> None:
    assert holds_conll(PLAIN)
    assert holds_conll(UNIVERSAL)
    assert not holds_conll("a,b\n1,2\n")
    assert not holds_conll("A line of a text.\n\nAnother line, which is longer.\n\nA third\n")


def test_splits_by_sentence() -> None:
    with collecting() as said:
        splits = conll_splits(io.StringIO(PLAIN))
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [12, 4, 4]
    rows = [split.meta(range(len(split)))["row"].tolist() for split in (splits.train, splits.validation, splits.test)]
    assert sorted(itertools.chain.from_iterable(rows)) == read(PLAIN).index.tolist()
    assert "Column 1 holds the words and column 2 their tags: 3 classes (DET, NOUN, VERB)." in said
    assert any(text.startswith("Split: train 12 sentences of ") for text in said)


def test_batches_hold_words_letters_and_tags() -> None:
    train = conll_splits(io.StringIO(PLAIN), validation_share=0, test_share=0).train
    (values, lengths), y = next(train.batched(2).batches(1, 0, None))
    vocabulary, labels = train.encoding.vocabulary, train.encoding.labels
    assert lengths.tolist() == [2, 3]
    assert values.shape == (2, 3, 1 + HASHED)
    assert values[0, :, 0].tolist() == [*vocabulary.encode(["the", "cat"]), 0]
    assert torch.equal(values[1, :, 1:], torch.from_numpy(hashed(["a", "dog", "sat"], PLACES)))
    assert [labels[tag] for tag in y[1]] == ["DET", "NOUN", "VERB"]
    assert y[0, 2] == NO_TARGET
    assert not values[0, 2].any()


def test_files_for_each_split(tmp_path: Path) -> None:
    for name in ("x-ud-train.conllu", "x-ud-dev.conllu", "x-ud-test.conllu"):
        (tmp_path / name).write_text(UNIVERSAL * 3)
    folder = conll_splits(tmp_path)
    files = conll_splits(
        *(tmp_path / f"x-ud-{name}.conllu" for name in ("train",)), validation_path=tmp_path / "x-ud-dev.conllu"
    )
    assert [len(split) for split in (folder.train, folder.validation, folder.test)] == [6, 6, 6]
    assert files.test is None
    assert folder.validation.encoding is folder.train.encoding
    (tmp_path / "y-train.conllu").write_text(UNIVERSAL)
    with pytest.raises(DataError, match="several files for train: 'x-ud-train.conllu', 'y-train.conllu'"):
        conll_splits(tmp_path)
    with pytest.raises(DataError, match="has no file named train"):
        conll_splits(Path(__file__).parent)


def test_tags_that_only_a_judged_file_has(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="The sentences at line 1 hold the tags 'X', which the training sentences never do"
    ):
        conll_splits(io.StringIO(PLAIN), validation_path=io.StringIO("the X\n\n" + PLAIN))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a DET\nb DET\n\nc DET\n", "holds the only tag 'DET', so that there is nothing to learn"),
        ("a _\nb _\n", "holds no tag but '_'"),
        ("".join(f"a w{i}\n\n" for i in range(600)), "holds 600 different tags for 600 words"),
    ],
)
def test_tags_to_learn_nothing_from(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        conll_splits(io.StringIO(text))


def test_words_without_a_tag_are_not_learned_from() -> None:
    with collecting() as said:
        train = conll_splits(io.StringIO(PLAIN.replace("sat VERB", "sat _")), validation_share=0, test_share=0).train
    assert "10 words of the train split have the tag '_': they are not learned from." in said
    assert train.encoding.labels == ("DET", "NOUN")
    assert (train.targets.values == NO_TARGET).sum() == 10


def test_unknown_words_keep_their_letters() -> None:
    encoding = conll_splits(io.StringIO(PLAIN)).train.encoding
    source = judged_sentences([["the", "Wombat"]], encoding, labelled=False)
    values, _ = source.inputs(torch.tensor([0]))
    assert values[0, 1, 0] == UNKNOWN
    assert (values[0, 1, 1:] > 0).all()
    cat, wombat = hashed(["cat", "Wombat"], PLACES)
    assert (cat == wombat).tolist() == [False] * 3 + [True, True, False, False, False]


def test_shapes_and_places() -> None:
    assert [shape(word) for word in ("USA", "Anne-3", "3.14", "été", "你好")] == ["X", "Xx-d", "d.d", "x", "x"]
    many = hashed([f"word{i}" for i in range(2000)], 64)
    assert many.min() >= 1
    assert many.max() <= 63


def test_an_encoding_goes_through_a_file_and_predicts() -> None:
    splits = conll_splits(io.StringIO(PLAIN), longest=2)
    encoding = SequenceEncoding.from_json(splits.train.encoding.to_json())
    assert encoding == splits.train.encoding
    for file in (io.StringIO("the\ndog\nsat\n\na\n"), io.StringIO("the DET\ndog NOUN\nsat VERB\n\na DET\n")):
        source = judged_sentences(file, encoding, labelled=False)
        scores = [torch.eye(3)[None, :2].repeat(2, 1, 1) * 99]
        told = tag_frame(source, scores)
        assert told["token"].tolist() == ["the", "dog", "sat", "a"]
        assert told["sentence"].tolist() == [1, 1, 1, 5]
        assert told["prediction"].tolist() == ["DET", "NOUN", None, "DET"]
    judged = judged_sentences(io.StringIO(PLAIN), encoding)
    assert Counter(judged.targets.values.tolist()) == {0: 20, 1: 20}
    with pytest.raises(DataError, match="There are 0 outputs for 20 sentences"):
        tag_frame(judged, [])
    with pytest.raises(RecipeError, match=r"The model gives \(20, 3\), but tags need scores \(batch, length, 3\)"):
        tag_frame(judged, [torch.zeros(20, 3)])
    with pytest.raises(DataError, match="give lists of words, none empty"):
        judged_sentences([["a"], []], encoding, labelled=False)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("text", "columns"),
    [(UNIVERSAL, (2, 4)), (UNIVERSAL, (3, 5)), (PLAIN, (1, 2)), (PLAIN.replace(" ", " \t "), (1, 2))],
)
def test_a_file_is_written_back_with_other_tags_and_nothing_else(
    text: str, columns: tuple[int, int], mark: str, end: str
) -> None:
    data = (mark + text.replace("\n", end)).encode()
    read = read_conll(io.BytesIO(data), tokens=columns[0], tags=columns[1]).frame
    tags = list(itertools.chain.from_iterable(read["tags"]))
    if " \t " not in text:  # blanks beside a tab are no part of a cell, and go from the one that is replaced
        assert retagged(io.BytesIO(data), tags, columns) == data
    other = [f"T{i % 3}" for i in range(len(tags))]
    written = retagged(io.BytesIO(data), other, columns)
    again = read_conll(io.BytesIO(written), tokens=columns[0], tags=columns[1]).frame
    assert list(itertools.chain.from_iterable(again["tags"])) == other
    assert again["tokens"].tolist() == read["tokens"].tolist()
    old, new = data.split(b"\n"), written.split(b"\n")
    changed = [i + 1 for i, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]]
    lines = [begin + i for begin, words in zip(read.index, read["tokens"], strict=True) for i in range(len(words))]
    assert set(changed) <= ({4, 5, 6, 8, 11, 12} if text == UNIVERSAL else set(lines))


def test_utf_16_and_no_last_line_end() -> None:
    text = "# né\nthe\tX\ncat\tX"
    for codec in ("utf-16-le", "utf-16-be"):
        data = ("\ufeff" + text).encode(codec)
        assert retagged(io.BytesIO(data), ["A", None], (1, 2)) == ("\ufeff# né\nthe\tA\ncat\t_").encode(codec)


@pytest.mark.parametrize(
    ("text", "trained", "columns", "written"),
    [
        ("the\ncat\n", (2, 4), (1, 2), "the\tA\ncat\tB\n"),
        ("the\ncat\n", (1, 2), (1, 2), "the\tA\ncat\tB\n"),
        ("the DET\ncat NOUN\n", (2, 4), (1, 3), "the DET A\ncat NOUN B\n"),
        ("1\tthe\n2\tcat\n", (2, 4), (2, 3), "1\tthe\tA\n2\tcat\tB\n"),
        ("the x y\ncat x y\n", (1, 4), (1, 4), "the x y A\ncat x y B\n"),
        ("x the y\nx cat y\n", (3, 2), (3, 2), "x A y\nx B y\n"),
        ("1\tthe" + "\t_" * 8 + "\n2\tcat" + "\t_" * 8 + "\n", (1, 2), (2, 4), None),
    ],
)
def test_words_without_tags_are_found_and_get_them(
    text: str, trained: tuple[int, int], columns: tuple[int, int], written: str | None
) -> None:
    with collecting() as said:
        read = read_words(io.StringIO(text), trained)
    assert read.columns == columns
    words = ["y", "y"] if columns[0] == 3 else ["the", "cat"]
    assert read.frame["tokens"].tolist() == [words]
    assert any(f"has its words in column {columns[0]};" in one for one in said) == (columns[0] != trained[0])
    expected = text.replace("\t_\t_", "\t_\tX", 1) if written is None else written
    got = retagged(io.StringIO(text), ["A", "B"], trained).decode()
    assert got.replace("\tA\t", "\tX\t").replace("\tB\t", "\t_\t") == expected if written is None else got == written


def test_as_many_tags_as_words() -> None:
    with pytest.raises(DataError, match="There are 1 tags for the 6 words of the input. Give one for each."):
        retagged(io.StringIO(UNIVERSAL), ["X"], (2, 4))


MARKED = "".join(f"# newdoc id = d{i}\n" + "the DET\ncat NOUN\n\n" * (1 + i % 3) for i in range(15))


def test_a_document_is_held_out_as_a_whole() -> None:
    with collecting() as said:
        splits = conll_splits(io.StringIO(MARKED))
    parts = (splits.train, splits.validation, splits.test)
    groups = [set(part.meta(range(len(part)))["group"].tolist()) for part in parts]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups)) == 15
    assert any(text.startswith("The file marks 15 documents: the sentences of one stay together.") for text in said)
    assert any(
        f"train {len(parts[0])} sentences of {2 * len(parts[0])} words in {len(groups[0])} doc" in t for t in said
    )
    judged = judged_sentences(io.StringIO(MARKED), splits.train.encoding)
    assert judged.meta([0, 1, 2])["group"].tolist() == ["d0", "d1", "d1"]
    with collecting() as said:
        assert "group" not in judged_sentences(io.StringIO("the DET\n\n"), splits.train.encoding).meta([0])
    assert said == [
        "The file marks no documents, as the one trained on does: intervals resample its sentences one by one."
    ]


def test_sentences_of_documents_may_be_dealt_one_by_one() -> None:
    for text, how in ((MARKED, {"documents": False}), (MARKED.replace("newdoc", "sent"), {})):
        splits = conll_splits(io.StringIO(text), **how)
        assert "group" not in splits.train.meta([0])
        assert splits.train.encoding.schema.group is None
        assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [18, 6, 6]
    with collecting() as said:
        few = conll_splits(io.StringIO("-DOCSTART- -X-\n\n" + "the DET\ncat NOUN\n\n" * 10))
    assert "The file marks 1 document, too few for 3 splits: they go by sentence." in said
    assert "group" not in few.train.meta([0])


def test_documents_without_an_id() -> None:
    frame = read("the DET\n\n# newdoc\na DET\n\nb DET\n\n-DOCSTART- -X-\n\nc DET\n\n# newdoc id = last one\nd DET\n")
    assert frame["document"].tolist() == [
        "the input, line 1",
        *["the input, line 3"] * 2,
        "the input, line 8",
        "last one",
    ]
    assert "document" not in read(PLAIN)


@pytest.mark.realdata
def test_english(realdata: Path) -> None:
    with collecting() as said:
        splits = conll_splits(realdata / "ewt", tokens=1024)
    (split,) = (notice for notice in said if notice.startswith("Split:"))
    assert split == (
        "Split: train 12,544 sentences of 204,577 words in 540 documents; "
        "validation 2,001 sentences of 25,147 words in 318 documents; test none."
    )
    assert len(splits.train.encoding.labels) == 17
    assert splits.train.padding_share < 0.04
    assert np.isin(splits.validation.targets.values, range(17)).all()
