"""Findings name examples and classes as their user finds them: lines, files, labels; numbers where there is no name."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from thalweg import cases
from thalweg.core.convert import as_source
from thalweg.core.folds import described
from thalweg.core.source import Splits
from thalweg.data import ImageFolder, load_table
from thalweg.data.image_loading import load_image_splits
from thalweg.data.text_table import text_splits
from thalweg.diagnosis.checks.classes import absent_classes, few_examples, one_target
from thalweg.diagnosis.checks.columns import not_finite
from thalweg.diagnosis.checks.data_rows import Rows, read_rows
from thalweg.diagnosis.checks.label_noise import far_targets, wrong_labels
from thalweg.diagnosis.checks.opinions import opinions
from thalweg.diagnosis.checks.splits_overlap import contradictions, shared_inputs
from thalweg.diagnosis.set_aside import hold_out


def read(source: Any, split: str = "train") -> Rows:
    rows = read_rows(source, split)
    assert rows is not None
    return rows


def table(n: int = 400) -> tuple[pd.DataFrame, np.ndarray]:
    """Two columns that tell the class, a fifth of the labels exchanged, and which."""
    random = np.random.default_rng(0)
    x = random.normal(size=(n, 2))
    says = x[:, 0] + x[:, 1] > 0
    wrong = random.random(n) < 0.2
    frame = pd.DataFrame(x.round(5), columns=["a", "b"]).assign(buys=np.where(says ^ wrong, "yes", "no"))
    return frame, wrong


def test_doubted_examples_are_lines_of_the_file_and_classes_have_their_names(tmp_path: Path) -> None:
    frame, wrong = table()
    frame.to_csv(tmp_path / "table.csv", index=False)
    rows = read(load_table(tmp_path / "table.csv", target="buys").train)
    known = opinions(rows)
    assert known is not None
    (flaw,) = wrong_labels(known, rows)
    doubted = [(int(line), label) for line, label in re.findall(r"line (\d+) \(labelled '(\w+)', rather '", flaw.says)]
    assert len(doubted) == 5
    lines = (tmp_path / "table.csv").read_text().splitlines()
    for line, label in doubted:
        assert wrong[line - 2]  # the header is line 1
        assert lines[line - 1].endswith(f",{label}")
    assert re.search(r"'(yes|no)' labelled '(yes|no)'", flaw.says)
    assert "counted from 0" not in flaw.says


def test_rows_of_a_frame_are_called_by_its_index() -> None:
    frame, _ = table(60)
    frame.index = pd.Index([f"p{i}" for i in range(60)])
    source = load_table(frame, target="buys").train
    assert source.where([3]) == [f"row {source.rows.index[3]}"]


def test_examples_of_tensors_are_counted_in_the_tensors_that_were_given() -> None:
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    x[41, 1] = torch.nan
    recipe = cases.get("healthy").but(data=Splits(train=(x, torch.arange(100) % 2)))
    parts = hold_out(recipe, as_source(recipe.data.train, "train"))
    (flaw,) = [flaw for part in parts for flaw in not_finite(read(part))]
    assert flaw.says.endswith("1 numbers in example 41 (counted from 0)")


def test_examples_of_a_data_set_are_counted_in_it() -> None:
    examples = [(torch.full((2,), float(i)), i % 2) for i in range(9)]
    assert as_source(examples, "train").take([2, 8]).take([1]).where([0]) == ["example 8"]


def test_numbers_that_belong_to_other_arrays_are_not_believed() -> None:
    source = as_source((torch.arange(9.0)[:, None], torch.arange(9)), "train").take([7, 8])
    other = replace(source, data=(torch.zeros(3, 1), torch.zeros(3)))
    assert other.where([2]) == ["example 2"]
    assert source.joined(source).where([3]) == ["example 3"]


def test_pairs_are_named_on_both_sides(tmp_path: Path) -> None:
    frame, _ = table(200)
    copies = pd.concat([frame, frame[:40], frame[:9].assign(buys=["yes", "no"] * 4 + ["yes"])])
    copies.to_csv(tmp_path / "table.csv", index=False)
    splits = load_table(tmp_path / "table.csv", target="buys")
    (flaw,) = shared_inputs(read(splits.train), read(splits.validation, "validation"))
    lines = (tmp_path / "table.csv").read_text().splitlines()
    pairs = re.findall(r"line (\d+) of validation is line (\d+) of train", flaw.says)
    assert len(pairs) == 3
    assert all(lines[int(a) - 1].split(",")[:2] == lines[int(b) - 1].split(",")[:2] for a, b in pairs)
    (whole,) = contradictions(read(load_table(tmp_path / "table.csv", target="buys", test_share=0.0).train))
    told = re.findall(r"line (\d+) is class '(\w+)' and line (\d+) class '(\w+)'", whole.says)
    assert len(told) == 3
    for first, label, other, rather in told:
        assert (lines[int(first) - 1][-len(label) :], lines[int(other) - 1][-len(rather) :]) == (label, rather)


def test_classes_of_all_checks_have_their_names() -> None:
    frame, _ = table(200)
    frame.loc[:3, "buys"] = "maybe"
    rows = read(load_table(frame, target="buys").train)
    assert any("Class 'maybe' has " in flaw.says for flaw in few_examples(rows))
    source = load_table(frame.assign(buys=["yes", "no"] * 100), target="buys").train
    without = source.take(np.flatnonzero(described(source)["label"] == "no"))
    (flaw, *_) = absent_classes(read(without), read(source, "validation"))
    assert flaw.says.endswith("without a train example: 'yes'")
    (flaw,) = one_target(cases.get("healthy").but(objective=torch.nn.CrossEntropyLoss()), read(without))
    assert flaw.says.endswith("have the target 'no'")


def test_targets_are_in_their_own_units() -> None:
    x = np.random.default_rng(0).normal(size=(400, 2))
    frame = pd.DataFrame(x, columns=["a", "b"]).assign(price=1000 + 50 * x[:, 0])
    frame.loc[:9, "price"] += 9000.0
    (flaw,) = far_targets(read(load_table(frame, target="price").train))
    is_, expected = (
        float(number) for number in re.findall(r"row \d \(([\de+.]+), expected about ([\de+.]+)\)", flaw.says)[0]
    )
    assert is_ > 9000
    assert 800 < expected < 1300


def folder(root: Path) -> Path:
    for number in range(12):
        path = root / ("cat" if number % 2 else "dog") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((7, 5), 20 * number, dtype=np.uint8)).save(path)
    return root


def test_images_are_called_by_their_files(tmp_path: Path) -> None:
    root = folder(tmp_path)
    train = load_image_splits(root, validation_share=0.0, test_share=0.0).train
    rows = read(train)
    number = int(rows.called(3).split("/")[1].removesuffix(".png"))
    assert rows.label(int(rows.targets[3])) == ("'cat'" if number % 2 else "'dog'")
    data = ImageFolder(root)
    own = read(as_source(data, "train").take([5, 7]))
    assert own.called(1) == data.paths[7].relative_to(root).as_posix()


def test_texts_are_called_by_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "mails.csv"
    file.write_text(
        "mail,spam\n" + "".join(f"{'buy' if i % 3 else 'read'} it now {i},{i % 3 > 0:d}\n" for i in range(30))
    )
    source = text_splits(file, target="spam").train
    line = int(source.where([4])[0].removeprefix("line "))
    assert source.rows["mail"].iloc[4].endswith(f" {line - 2}")
