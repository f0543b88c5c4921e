"""Files of pairs: every form gives the same pairs, the splits keep sources together, and what is wrong is named."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import collecting
from thalweg.data.pair_loading import judged_pairs, pair_splits
from thalweg.data.pair_reading import partner, read_pairs
from thalweg.data.pair_source import PairSource
from thalweg.data.sniffing import holds_pairs
from thalweg.data.source_reading import read_sources

N = 20
PAIRS = [(f"number {i}", f"Nummer {i}") for i in range(N)]
TSV = "".join(f"{source}\t{target}\n" for source, target in PAIRS)
ENGLISH, GERMAN = ("".join(f"{text}\n" for text in side) for side in zip(*PAIRS, strict=True))
JSONL = "".join(json.dumps({"en": source, "de": target}) + "\n" for source, target in PAIRS)
WHOLE = {"validation_share": 0, "test_share": 0}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("a.tsv", TSV), ("train.en", ENGLISH), ("train.de", GERMAN), ("a.jsonl", JSONL)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def pairs_of(source: PairSource) -> list[tuple[str, str]]:
    return list(zip(source.sources, source.targets, strict=True))


def read(text: str | bytes, *of: Any, **how: Any) -> pd.DataFrame:
    return read_pairs(io.BytesIO(text if isinstance(text, bytes) else text.encode()), *of, **how)[0]


@pytest.mark.parametrize(
    "content",
    [
        TSV,
        TSV.replace("\n", "\r\n"),
        TSV.replace("\n", "\r"),
        "\ufeff" + TSV,
        TSV.encode("utf-16"),
        gzip.compress(TSV.encode()),
        TSV.removesuffix("\n"),
        "en\tde\n" + TSV,
        "target\tsource\n" + "".join(f"{target}\t{source}\n" for source, target in PAIRS),
        TSV.replace("\t", ","),
        TSV.replace("\t", ";"),
        "source,target\n" + "".join(f'"{source}","{target}"\n' for source, target in PAIRS),
        JSONL,
        JSONL.replace("\n", "\n\n"),
        "".join(f'{{"translation": {line}}}\n' for line in JSONL.splitlines()),
    ],
)
def test_every_form_gives_the_same_pairs(content: str | bytes) -> None:
    data = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    with collecting():
        assert pairs_of(pair_splits(data, **WHOLE).train) == PAIRS


def test_files_and_frames_give_the_same_pairs(folder: Path) -> None:
    frame = pd.DataFrame(PAIRS, columns=["en", "de"])
    frame.to_parquet("a.parquet")
    frame.assign(id=range(N)).to_csv("wide.tsv", sep="\t", index=False)
    (folder / "plain.tsv").write_text(TSV.replace("\n", "\tCC-BY\n"), encoding="utf-8")
    wide = {"text": "en", "target": "de"}
    loaded: list[PairSource] = [
        pair_splits("train.en", "train.de", **WHOLE).train,
        pair_splits(folder / "train.en", folder / "train.de", **WHOLE).train,
        pair_splits("a.jsonl", **WHOLE).train,
        pair_splits("a.parquet", **WHOLE).train,
        pair_splits(frame, **WHOLE).train,
        pair_splits("wide.tsv", **wide, **WHOLE).train,
        pair_splits(frame.assign(id="x"), **wide, **WHOLE).train,
        pair_splits("plain.tsv", text=0, target=1, **WHOLE).train,
    ]
    assert [pairs_of(one) for one in loaded] == [PAIRS] * len(loaded)
    assert [one.schema.names for one in loaded[:3]] == [("en", "de")] * 3
    assert loaded[5].rows["id"].tolist() == [str(i) for i in range(N)]
    assert loaded[0].meta([0, 1])["row"].tolist() == [1, 2]


def test_quotes_between_tabs_are_text() -> None:
    said = '"Hello," he said.\t"Hallo", sagte er.\n'
    assert read(TSV + said).iloc[-1].tolist() == ['"Hello," he said.', '"Hallo", sagte er.']
    written = pd.DataFrame([['a "b" c', "d"], ['"e"', "f"]]).to_csv(sep="\t", index=False, header=False)
    assert read(written).iloc[0].tolist() == ['a "b" c', "d"]


def test_a_line_ends_with_its_line_feed_alone(folder: Path) -> None:
    odd = ENGLISH.replace("number 3\n", "num\u2028ber\x0c\x85\x1e\r 3\n")
    (folder / "odd.en").write_bytes(odd.encode())
    train = pair_splits("odd.en", "train.de", **WHOLE).train
    assert len(train) == N
    assert train.targets[3] == "Nummer 3"
    assert train.sources[4] == "number 4"


def test_what_no_text_should_hold_is_read(folder: Path) -> None:
    odd = "a\x01\x1bb 😀👍🏽\tשלמ \u200fx\u200b"
    train = pair_splits(io.StringIO(TSV + odd + "\n"), unit="characters", **WHOLE).train
    (x, y) = next(train.batched(None).batches(1, 0, None))
    assert train.encoding.text(y[N]) == train.encoding.formed(odd.split("\t")[1]) == "שלמ x"
    assert x["lengths"][N] == len("a  b 😀👍🏽")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            TSV + "\tleer\n",
            "1 pair of 21 lacks a text: 'source' 1 .line 21.. .* data.missing=drop .* data.missing=keep",
        ),
        (TSV + "empty\t\n \tx\n", "2 pairs of 22 lack a text: 'source' 1 .line 22., 'target' 1 .line 21."),
        (TSV + "a\tb\tc\n", r"line 21, has 3 cells, where line 1 has 2: 'a\\tb\\tc'. Between cells stands a tab"),
        (TSV + "a\n", "line 21, has 1 cell, where line 1 has 2: 'a'"),
        (TSV.replace("\n", "\tCC\n"), "line 1, has 3 cells, and a pair has two: .* data.text=0 data.target=1"),
        ("source\ttarget\n", "has a header .'source', 'target'. but nothing below it"),
        ("source\ttarget\ttarget\nx\ty\tz\n", "line 1, calls several columns alike: 'source', 'target', 'target'"),
        (ENGLISH, "line 1, has one cell: 'number 0'. .* If the targets are the lines of another file"),
        (TSV.encode() + b"gr\xfcn\tx\n", "is not UTF-8: line 21 holds the byte 0xfc"),
        (TSV + "a\0\tb\n", "holds a NUL byte in line 21"),
        ("", "is empty. Pairs need a line for each"),
        ("\n \t \n", "is empty. Pairs need"),
        (JSONL + "{oops}\n", "line 21, is no JSON object .Expecting property name"),
        (JSONL + "3\n", "line 21, is no JSON object .it is int."),
        (JSONL + '{"en": "a"}\n', "line 21, lacks the key 'de'; it has 'en'. Give every line both keys"),
        (JSONL + '{"en": "a", "de": 3}\n', "line 21: 'de' is 3, which is no text. Write it in quotes"),
        (JSONL + '{"en": "a", "de": null}\n', "'de' 1 .line 21."),
        (json.dumps([{"en": "a", "de": "b"}], indent=1), "is one JSON document: write its objects a line each"),
        (JSONL.replace("{", '{"id": "x", '), "has 3 columns of text .'id', 'en', 'de'., and a pair has two. Name them"),
    ],
)
def test_what_holds_no_pairs(content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pair_splits(io.BytesIO(content if isinstance(content, bytes) else content.encode()))


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda: pair_splits("b.tsv"), "There is no file b.tsv. Did you mean 'a.tsv'?"),
        (lambda: pair_splits("nowhere/b.tsv"), "There is no file nowhere/b.tsv. Paths count from"),
        (lambda: pair_splits("."), "is a folder, and pairs are files. .* It holds 'a.jsonl', 'a.tsv'"),
        (lambda: pair_splits("train.en", "train.dee"), "has one cell.* no file train.dee. Did you mean 'train.de'?"),
        (lambda: pair_splits("train.en", Path("train.dee")), "There is no file train.dee. Did you mean 'train.de'?"),
        (lambda: pair_splits("train.en", "short.de"), "has 20 lines and short.de has 19: from line 20 on train.en is"),
        (lambda: pair_splits("train.en", "long.de"), "from line 21 on long.de is alone .''.. Remove the empty lines"),
        (lambda: pair_splits("wide.tsv", text="en", target="fr"), "no column 'fr' in wide.tsv for target, and no file"),
        (
            lambda: pair_splits("wide.tsv", text="en", target=7),
            "target=7 is no column of wide.tsv: there are 3, from 0",
        ),
        (
            lambda: pair_splits("wide.tsv", text="en", target="en"),
            "'en' of wide.tsv cannot be the source and the target",
        ),
        (lambda: pair_splits("wide.tsv", target="de"), "has 3 columns of text"),
        (lambda: pair_splits("bad.csv"), "line 2: the quotes do not match"),
        (
            lambda: pair_splits("train.en", "train.de", test_path="other.txt"),
            r"Which file holds the targets of other.txt\? None .* Give both: .\"other.txt\", \"TARGETS\".",
        ),
        (lambda: pair_splits("a.tsv", test_path=["a.tsv"]), "is not two files"),
        (lambda: judged_pairs([], pair_splits("a.tsv").train.encoding, labelled=False), "The list is empty"),
        (lambda: judged_pairs([3], pair_splits("a.tsv").train.encoding, labelled=False), "3 is no text but int"),
        (lambda: judged_pairs("wide.tsv", pair_splits("a.jsonl").train.encoding, labelled=False), ""),
    ],
)
def test_files_that_cannot_be_read(folder: Path, load: Callable[[], Any], message: str) -> None:
    (folder / "short.de").write_text("".join(GERMAN.splitlines(keepends=True)[:-1]))
    (folder / "long.de").write_text(GERMAN + "\n\n")
    (folder / "wide.tsv").write_text("en\tde\tid\na\tb\tc\n")
    (folder / "bad.csv").write_text('source,target\n"a,b\nc,d\n')
    (folder / "other.txt").write_text(ENGLISH)
    if not message:
        assert load().sources == ["a"]
        return
    with pytest.raises(DataError, match=message):
        load()


def test_missing_texts_are_dropped_or_kept() -> None:
    holes = TSV + "empty\t\n\tleer\n"
    with collecting() as said:
        assert len(pair_splits(io.StringIO(holes), missing="drop", **WHOLE).train) == N
    assert "2 pairs of 22 lack a text and are left out: 'source' 1 (line 22), 'target' 1 (line 21)." in said
    with collecting() as said:
        kept = pair_splits(io.StringIO(holes), missing="keep", **WHOLE).train
    assert "1 target is empty and kept so (line 21)." in said
    assert kept.targets[N] == kept.sources[N + 1] == ""
    assert kept.lengths[N:].tolist() == [[5, 1], [0, 5]]


def test_empty_pairs_are_left_out(folder: Path) -> None:
    with collecting() as said:
        assert len(pair_splits(io.StringIO("\n" + TSV + "\n \t\n"), **WHOLE).train) == N
    assert "the input: 3 empty lines left out, the first of them line 1." in said
    for name in ("train.en", "train.de"):
        (folder / name).write_text((folder / name).read_text() + "\n" + "last\n")
    with collecting() as said:
        train = pair_splits("train.en", "train.de", **WHOLE).train
    assert "train.en and train.de: 1 empty pair left out (line 21)." in said
    assert train.meta([N])["row"].tolist() == [22]


def test_the_header_is_found_out_and_said() -> None:
    with collecting() as said:
        assert len(read("EN\tDE\n" + TSV)) == N
    assert said == [
        "The first line of the input, 'EN', 'DE', names the columns (data.header=false reads it as a pair)."
    ]
    assert len(read("en\tde\n" + TSV, header=False)) == N + 1
    assert read("one\teins\n" + TSV, header=True).columns.tolist() == ["one", "eins"]
    assert len(read("as\tis\n" + TSV)) == N + 1  # languages too, but words as well


@pytest.mark.parametrize("names", [("Target", "Source"), ("TGT", "src")])
def test_columns_are_known_in_capitals_too(names: tuple[str, str]) -> None:
    frame, found = read_pairs(io.StringIO("\t".join(names) + "\nHaus\thouse\n"))
    assert found == names[::-1]
    assert frame.loc[2, names[1]] == "house"


def test_columns_named_by_their_places_are_found_in_other_files(folder: Path) -> None:
    lines = [f"{i}\tHaus {i}\thouse {i}\t-\n" for i in range(8)]
    Path("train.tsv").write_text("".join(lines))
    Path("test.tsv").write_text("".join(lines[:2]))
    splits = pair_splits("train.tsv", text=2, target=1, test_path="test.tsv")
    assert splits.test is not None
    assert splits.test.targets == ["Haus 0", "Haus 1"]
    assert judged_pairs("test.tsv", splits.train.encoding, labelled=False).sources == ["house 0", "house 1"]
    Path("turned.tsv").write_text("".join(f"Haus {i}\thouse {i}\n" for i in range(8)))
    encoding = pair_splits("turned.tsv", text=1, target=0).train.encoding
    assert judged_pairs("turned.tsv", encoding, labelled=False).sources[:2] == ["house 0", "house 1"]
    Path("alone.tsv").write_text("house 5\nhouse 6\n")
    assert judged_pairs("alone.tsv", encoding, labelled=False).sources == ["house 5", "house 6"]


def test_all_pairs_of_a_source_are_in_one_split() -> None:
    alike = "".join(f"word {i}\tWort {i}\nWORD  {i}\tVokabel {i}\n" for i in range(50))
    with collecting() as said:
        splits = pair_splits(io.StringIO(alike + "word 3\tWort 3\n" + "word 3\tBegriff 3\n"), seed=3)
    parts = [getattr(splits, name) for name in ("train", "validation", "test")]
    sources = [{source.lower().replace("  ", " ") for source in part.sources} for part in parts]
    assert [len(one) for one in sources] == [30, 10, 10]
    assert len(set.union(*sources)) == 50
    assert sum(map(len, parts)) == 102
    text = " ".join(said)
    assert "1 pair occurs a second time or more (line 101): all are kept." in text
    assert "1 of 100 sources has several targets." in text
    assert "Split by source: train 6" in text


def test_sources_of_many_targets_are_in_every_split() -> None:
    """Whole groups dealt by size would put them all in train, and the test would be too easy."""
    several = "".join(f"w{i}\tx{j}\n" for i in range(100) for j in range(3 if i % 2 else 1))
    splits = pair_splits(io.StringIO(several))
    for part in (splits.train, splits.validation, splits.test):
        share = sum(len(one) > 1 for one in part.references(range(len(part)))) / len(part)
        assert 0.55 < share < 0.95  # .75 of all pairs


def test_files_for_each_split(folder: Path) -> None:
    for name in ("val", "test"):
        (folder / f"{name}.en").write_text(f"{name} 1\nnumber 3\n")
        (folder / f"{name}.de").write_text(f"{name} eins\nNummer 3\n")
    with collecting() as said:
        both = pair_splits("train.en", "train.de", validation_path="val.en", test_path=["test.en", "test.de"])
    assert [len(part) for part in (both.train, both.validation, both.test)] == [20, 2, 2]
    assert both.test.targets == ["test eins", "Nummer 3"]
    assert both.validation.encoding is both.train.encoding
    assert "1 of the 2 pairs of the test split has a source that train has too: no test of new ones (line 2)." in said
    assert (
        "1 of the 2 pairs of the test split has a source that validation has too: no test of new ones (line 2)." in said
    )
    one = pair_splits("train.en", "train.de", test_path="test.en")
    assert [len(part) for part in (one.train, one.validation, one.test)] == [16, 4, 2]
    only = pair_splits("a.tsv", validation_path="a.tsv")
    assert (len(only.train), len(only.validation), only.test) == (20, 20, None)


def test_partners_by_name(folder: Path) -> None:
    (folder / "de").mkdir()
    for name in ("x.de.gz", "src-test.txt", "tgt-test.txt", "de/x.txt"):
        (folder / name).write_text("x")
    assert partner("x.en.gz", ("en", "de")) == Path("x.de.gz")
    assert partner(Path("src-test.txt"), ("src", "tgt")) == Path("tgt-test.txt")
    assert partner("en/x.txt", ("en", "de")) == Path("de/x.txt")
    assert partner("x.fr", ("en", "de")) is None


def test_judging_another_file(folder: Path) -> None:
    tables = pair_splits("a.jsonl").train.encoding
    assert len(judged_pairs("a.tsv", tables)) == N
    assert judged_pairs("a.tsv", tables).rows.columns.tolist() == ["en", "de"]
    parallel = pair_splits("train.en", "train.de").train.encoding
    assert pairs_of(judged_pairs("train.en", parallel)) == PAIRS
    assert pairs_of(judged_pairs(("train.en", "train.de"), tables)) == PAIRS


def test_predicting_needs_sources_alone(folder: Path) -> None:
    encoding = pair_splits("a.jsonl").train.encoding
    (folder / "new.txt").write_text("number 1\n\n\tnumber 2, \t3\n")
    (folder / "new.jsonl").write_text('{"id": 1, "en": "number 1"}\n{"id": 2, "en": null}\n')
    (folder / "new.csv").write_text("id,en\n1,number 1\n")
    with collecting() as said:
        lines = judged_pairs("new.txt", encoding, labelled=False)
    assert "1 source is empty (line 2)." in said
    assert lines.sources == ["number 1", "", "number 2, \t3"]
    assert judged_pairs("new.jsonl", encoding, labelled=False).sources == ["number 1", ""]
    assert judged_pairs("new.csv", encoding, labelled=False).rows.loc[2].tolist() == ["1", "number 1"]
    assert judged_pairs("a.tsv", encoding, labelled=False).sources == [source for source, _ in PAIRS]
    assert judged_pairs(pd.DataFrame({"x": ["a"]}), encoding, labelled=False).sources == ["a"]
    with pytest.raises(
        DataError, match="lacks 'en', which the model was trained on; it has 'x', 'y'. Call its sources"
    ):
        read_sources(pd.DataFrame({"x": ["a"], "y": ["b"]}), "en")
    with pytest.raises(DataError, match="There is nothing to predict from: give a source in each line."):
        read_sources(io.StringIO(""), "en")


CMUDICT = """;;; a comment
cat K AE1 T
cat(2) K AE0 T
d'artagnan D AH0 R T AE1 NG Y AH0 N # foreign french
'em  AH0 M
hello HH AH0 L OW1
hello(2) HH EH0 L OW1
"""


def test_a_pronouncing_dictionary() -> None:
    with collecting() as said:
        train = pair_splits(io.StringIO(CMUDICT), **WHOLE).train
    assert train.schema.unit == ("characters", "words")
    assert train.sources == ["cat", "cat", "d'artagnan", "'em", "hello", "hello"]
    assert train.targets[2] == "D AH0 R T AE1 NG Y AH0 N"
    assert train.references([1]) == [["K AE0 T", "K AE1 T"]]
    assert "2 of 4 sources have several targets." in said
    with collecting() as said:
        bare = pair_splits(io.StringIO(CMUDICT), stress=False, **WHOLE).train
    assert bare.targets == ["K AE T", "D AH R T AE NG Y AH N", "AH M", "HH AH L OW", "HH EH L OW"]
    assert "1 pair left out that differs from another in stress alone." in said
    table = "".join(f"{word}\t{sounds}\n" for word, sounds in zip(train.sources, train.targets, strict=True))
    assert pair_splits(io.StringIO(table), stress=False, **WHOLE).train.targets == bare.targets
    assert judged_pairs(io.StringIO("dog D AO1 G\n"), bare.encoding).targets == ["D AO G"]
    with pytest.raises(DataError, match="line 8, has no sounds behind 'dog'"):
        read(CMUDICT + "dog\n" + CMUDICT * 9)


def test_only_stress_makes_two_pairs_one() -> None:
    twice = CMUDICT.replace("'em  AH0 M", "'em  AH0 M\n'em  AH0 M\n'em  AH1 M\n'em  AH1 M")
    with collecting() as said:
        bare = pair_splits(io.StringIO(twice), stress=False, **WHOLE).train
    assert [source for source in bare.sources if source == "'em"] == ["'em"] * 2
    assert "3 pairs left out that differ from another in stress alone." in said  # and those of "cat"
    again = "".join(f"word {i // 2}\tS AH T\n" for i in range(20))
    with pytest.raises(RecipeError, match="stress=False takes the digits of stress from sounds, and 'target' has none"):
        pair_splits(io.StringIO(again), stress=False)


def test_sniffing(folder: Path) -> None:
    (folder / "reviews.tsv").write_text(
        "".join(f"review number {i}\t{'good' if i % 2 else 'bad'}\n" for i in range(40))
    )
    (folder / "numbers.csv").write_text("a,b\n" + "".join(f"{i},{i * 2}\n" for i in range(40)))
    (folder / "cmudict.dict").write_text(CMUDICT)
    assert holds_pairs(Path("a.tsv"))
    assert holds_pairs(Path("a.jsonl"), "de")
    assert holds_pairs(Path("train.en"), "train.de")
    assert holds_pairs(Path("cmudict.dict"))
    for name in ("reviews.tsv", "numbers.csv", "train.en", "missing.tsv"):
        assert not holds_pairs(Path(name)), name
    assert not holds_pairs(Path("reviews.tsv"), target=1)


def test_text_and_a_file_of_targets_contradict(folder: Path) -> None:
    with pytest.raises(RecipeError, match="text='en' names a column, but train.de is a file of its own"):
        pair_splits("train.en", "train.de", text="en")


def test_captions(realdata: Path) -> None:
    folder = realdata / "multi30k"
    files = {"validation_path": folder / "val.en.gz", "test_path": folder / "test_2016_flickr.en.gz"}
    with collecting():
        splits = pair_splits(folder / "train.en.gz", folder / "train.de.gz", tokens=4096, **files)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [29_000, 1014, 1000]
    assert splits.train.schema.names == ("en", "de")
    assert splits.train.padding_share < 0.05
    assert max(x["source"].numel() + y.numel() for x, y in splits.test.batches(1, 0, torch.Generator())) <= 4096


def test_spelling_to_sound(realdata: Path) -> None:
    with collecting():
        splits = pair_splits(realdata / "cmudict" / "cmudict.dict.gz", stress=False)
    assert sum(map(len, vars(splits).values())) == 134_860
    assert len(splits.train.encoding.target) == 4 + 39
    words = [set(part.sources) for part in vars(splits).values()]
    assert len(set.union(*words)) == sum(map(len, words)) == 126_052
