"""Parquet by row groups: every row once in an epoch, in a drawn order, and resumed without reading what lies before."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import thalweg
from thalweg import Recipe, Splits
from thalweg.core.convert import Batching, as_source
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.fingerprint import fingerprint
from thalweg.data import ParquetSource, parquet_source

pytest.importorskip("pyarrow")
N, GROUP = 61, 7


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(tmp_path)


def save(folder: Path, **columns: Any) -> Path:
    row = np.arange(N)
    frame = pd.DataFrame({"row": row, "half": row / 2, "y": row % 3, "z": row * 0.1} | columns)
    frame.to_parquet(folder / "t.parquet", row_group_size=GROUP)
    return folder / "t.parquet"


def epoch(source: Any, seed: int | None = None, start: int = 0) -> list[Any]:
    return list(source.batches(1, start, None if seed is None else torch.Generator().manual_seed(seed)))


def rows(batches: list[Any]) -> list[int]:
    return [int(row) for x, _ in batches for row in x[:, 0]]


@pytest.mark.parametrize("window", [1, 2, 5, 99])
@pytest.mark.parametrize(("size", "single"), [(4, False), (10, False), (10, True), (23, False), (None, False)])
def test_every_row_comes_once_and_any_batch_can_be_resumed_at(
    path: Path, window: int, size: int | None, single: bool
) -> None:
    source = ParquetSource(path, target="y", window=window).batched(size, single)
    assert rows(epoch(source)) == list(range(N))
    whole = epoch(source, 5)
    assert sorted(rows(whole)) == list(range(N))
    assert len(whole) == source.count_batches()
    assert [len(y) for _, y in whole] == [
        len(y)
        for _, y in as_source((np.zeros((N, 1)), np.zeros(N)))
        .batched(  # type: ignore[attr-defined]
            size, single
        )
        .batches(1, 0, None)
    ]
    assert rows(epoch(source, 5)) == rows(whole) != rows(epoch(source, 6))
    for start in range(len(whole) + 1):
        rest = epoch(source, 5, start)
        assert rows(rest) == rows(whole[start:])
        assert [len(y) for _, y in rest] == [len(y) for _, y in whole[start:]]


def test_rows_and_targets_stay_together(path: Path) -> None:
    for x, y in epoch(ParquetSource(path, target="y", features=["row", "half"]), 1):
        assert (x.dtype, x.shape[1], y.dtype) == (torch.float32, 2, torch.int64)
        assert torch.equal(x[:, 0].long() % 3, y)
        assert torch.equal(x[:, 0] / 2, x[:, 1])
    ((_, y), *_) = epoch(ParquetSource(path, target=["y", "z"]))
    assert (y.shape, y.dtype) == ((32, 2), torch.float32)


def test_a_resume_reads_no_group_before_its_batch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, own = list[int](), ParquetSource._group

    def noted(self: ParquetSource, file: Any, group: int) -> Any:
        read.append(group)
        return own(self, file, group)

    monkeypatch.setattr(parquet_source.ParquetSource, "_group", noted)
    source = ParquetSource(path, target="y", window=2, batch_size=5)
    epoch(source, 3, start=source.count_batches() - 1)
    assert len(read) <= 2
    read.clear()
    assert epoch(source, 3, start=source.count_batches()) == read == []


def test_it_trains_validates_and_is_known_again(path: Path) -> None:
    source = ParquetSource(path, target="y", features=["row", "half"])
    train, validation = source.of_groups(range(6)), source.of_groups([6, 7, 8])
    assert (len(train), len(validation)) == (42, 19)
    recipe = Recipe(
        data=Splits(train=train, validation=validation),
        model=partial(nn.Linear, 2, 3),
        objective=nn.CrossEntropyLoss(),
        batch_size=5,
        epochs=2,
    )
    weights = [thalweg.train(recipe).model.weight for _ in range(2)]
    assert torch.equal(*weights)
    assert len({fingerprint(each) for each in (source, train, validation, source.batched(4))}) == 4
    assert fingerprint(train) == fingerprint(source.of_groups(range(6)))
    assert as_source(source, batching=Batching(9)).batch_size == 9  # type: ignore[attr-defined]


# --- what is refused, and said ----------------------------------------------------------------------------------------


def test_files_that_are_none(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no file .*nowhere.parquet. Give a Parquet file."):
        ParquetSource(tmp_path / "nowhere.parquet", target="y")
    (tmp_path / "bad.parquet").write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"bad.parquet cannot be read as Parquet: .* Write it again"):
        ParquetSource(tmp_path / "bad.parquet", target="y")
    pd.DataFrame({"a": [], "y": []}, dtype=float).to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(DataError, match=r"empty.parquet has no rows. It needs at least one example."):
        ParquetSource(tmp_path / "empty.parquet", target="y")


def test_columns_that_cannot_be(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no column 'hlaf'. Did you mean 'half'\?"):
        ParquetSource(path, target="y", features=["hlaf"])
    with pytest.raises(DataError, match=r"has no column beside the target. Inputs are columns of numbers."):
        ParquetSource(path, target=["row", "half", "y", "z"])
    with pytest.raises(DataError, match=r"the column 'half' holds .*string, but a stream reads numbers. Leave it out"):
        ParquetSource(save(tmp_path, half=["a"] * N), target="y")


@pytest.mark.parametrize(("cell", "what"), [(np.inf, "1 value not finite"), (None, "1 missing cell")])
def test_cells_that_are_no_numbers(tmp_path: Path, cell: Any, what: str) -> None:
    half = [*range(N)]
    half[20] = cell
    source = ParquetSource(save(tmp_path, half=pd.array(half, dtype="Float64")), target="y")
    with pytest.raises(DataError, match=rf"the column 'half' has {what} in row group 2. Training needs finite numbers"):
        epoch(source)


def test_windows_and_groups_that_cannot_be(path: Path) -> None:
    with pytest.raises(RecipeError, match=r"window=0, but at least 1 row group is in memory"):
        ParquetSource(path, target="y", window=0)
    with pytest.raises(RecipeError, match=r"groups=\[9\], but .*t.parquet has 9 row groups, from 0 on."):
        ParquetSource(path, target="y").of_groups([9])


def test_pyarrow_is_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow to be read: pip install pyarrow."):
        ParquetSource(path, target="y")
