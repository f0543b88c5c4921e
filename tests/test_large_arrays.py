"""Arrays in files: trained on bit for bit as if they lay in memory, without ever being read as a whole."""

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg
from thalweg import Recipe, Splits
from thalweg.core.arrays import ArraySource
from thalweg.core.convert import Batching, as_source
from thalweg.core.errors import DataError
from thalweg.core.fingerprint import fingerprint
from thalweg.core.finite import check_finite
from thalweg.core.mapped import Mapped, Pages, file_behind
from thalweg.core.notices import collecting
from thalweg.core.source import Source

N, WIDTH = 61, 5
Save = Callable[..., Any]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """A function that writes an array into a file, and gives it back mapped."""
    count = iter(range(99))

    def saved(array: Any, mode: Any = "r") -> Any:
        path = tmp_path / f"{next(count)}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode=mode)

    return saved


def numbers(*shape: int, kind: Any = np.float32, seed: int = 0) -> Any:
    return (10 * np.random.default_rng(seed).standard_normal(shape)).astype(kind)


def epoch(source: Source, seed: int | None = None, start: int = 0) -> list[Any]:
    return list(source.batches(1, start, None if seed is None else torch.Generator().manual_seed(seed)))


def assert_same(some: list[Any], others: list[Any]) -> None:
    for one, other in zip(some, others, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["f4", "f8", "f2", ">f4", "i1", "i2", "i8", "u1", "u2", "?"])
@pytest.mark.parametrize("seed", [None, 3])
def test_batches_are_those_of_the_array_in_memory(save: Save, kind: str, seed: int | None) -> None:
    x, y = numbers(N, 2, WIDTH, kind=kind), numbers(N, kind=np.int64)
    mapped, held = as_source((save(x), save(y))), as_source((x, y))
    for size, single in ((7, False), (12, True), (None, False)):
        one, other = mapped.batched(size, single), held.batched(size, single)  # type: ignore[attr-defined]
        assert one.count_batches() == other.count_batches()
        for start in (0, 2):
            assert_same(epoch(one, seed, start), epoch(other, seed, start))


@pytest.mark.parametrize("view", [lambda x: x[3:, 1:], lambda x: x[::2], lambda x: np.asarray(x)[::-1], np.asarray])
def test_views_of_a_file_stay_in_it(save: Save, view: Callable[[Any], Any]) -> None:
    x = numbers(N, WIDTH)
    seen = view(save(x))
    mapped = as_source((seen, np.arange(len(seen))))
    assert isinstance(mapped, ArraySource)
    assert isinstance(mapped.data[0], Mapped)
    assert_same(epoch(mapped, 5), epoch(as_source((view(x).copy(), np.arange(len(seen)))), 5))


def test_subsets_of_subsets_stay_in_the_file(save: Save) -> None:
    x, y = numbers(N, WIDTH), np.arange(N) % 3
    first, second = np.random.default_rng(1).permutation(N)[:40], [4, 4, 0, 39, 7]
    parts = [as_source(pair).take(first).take(second) for pair in ((save(x), save(y)), (x, y))]  # type: ignore[attr-defined]
    assert isinstance(parts[0].data[0], Mapped)
    assert len(parts[0]) == 5
    assert parts[0].meta([0, 2])["label"].tolist() == parts[1].meta([0, 2])["label"].tolist()
    assert_same(epoch(parts[0], 2), epoch(parts[1], 2))
    assert_same(epoch(parts[0].batched(None)), epoch(parts[1].batched(None)))


def test_batches_may_be_written_into(save: Save) -> None:
    source = as_source((save(numbers(N, WIDTH)), np.arange(N)), batching=Batching(N))
    ((x, _),) = epoch(source)
    before = x.clone()
    x.zero_()
    assert torch.equal(epoch(source)[0][0], before)


def recipe(train: Any, validation: Any = None, **changes: Any) -> Recipe:
    pieces: dict[str, Any] = {"model": partial(nn.Linear, WIDTH, 3), "objective": nn.CrossEntropyLoss(), "epochs": 3}
    return Recipe(data=Splits(train=train, validation=validation), **(pieces | changes))


def test_a_run_is_that_of_the_arrays_in_memory(save: Save, tmp_path: Path) -> None:
    x, y = numbers(N, WIDTH), np.arange(N) % 3
    held = recipe((x[:40], y[:40]), (x[40:], y[40:]))
    mapped = recipe((save(x[:40]), save(y[:40])), (save(x[40:]), save(y[40:])))
    runs = [thalweg.train(each, out=tmp_path) for each in (held, mapped)]
    assert torch.equal(runs[0].model.weight, runs[1].model.weight)
    assert held.fingerprint() == mapped.fingerprint()
    scores = [thalweg.evaluate(run, run.recipe.data.validation) for run in runs]
    assert scores[0] == scores[1]
    folds = [thalweg.cross_validate(each.but(data=Splits(each.data.train)), folds=3) for each in (held, mapped)]
    assert str(folds[0]) == str(folds[1])
    many = thalweg.train_many([mapped.but(seed=seed) for seed in range(2)])
    assert torch.equal(many[0].model.weight, runs[0].model.weight)


def test_dicts_and_several_inputs_and_targets(save: Save) -> None:
    columns = [numbers(N, WIDTH), numbers(N, 2, kind=np.float64), numbers(N, 3)]
    a, b, c = map(save, columns)
    assert_same(epoch(as_source(((a, b), c)), 1)[0], epoch(as_source(((columns[0], columns[1]), columns[2])), 1)[0])
    held, mapped = (as_source({"a": a, "b": b}), as_source({"a": columns[0], "b": columns[1]}))
    for one, other in zip(epoch(mapped, 1), epoch(held, 1), strict=True):
        assert list(one) == ["a", "b"]
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_changes_are_kept_when_pages_are_given_back(save: Save, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr("thalweg.core.mapped.MOST_HELD", 1)
    x = numbers(N, WIDTH)
    file = save(x, mode)
    if mode != "r":
        file[5] = x[5] = 7.0
    assert_same(epoch(as_source((file, np.arange(N))), 1), epoch(as_source((x, np.arange(N))), 1))


def test_small_chunks_are_the_same_rows(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.core.mapped.CHUNK", 3 * WIDTH * 4)
    monkeypatch.setattr("thalweg.core.fingerprint.CHUNK", 3 * WIDTH * 4)
    x = numbers(N, WIDTH)
    file = save(x)
    mapped = Mapped(file, np.dtype(np.float32), Pages(file))
    assert [len(chunk) for chunk in mapped.chunks()] == [3] * 20 + [1]
    assert torch.equal(mapped.clone(), torch.from_numpy(x))
    assert fingerprint(file) == fingerprint(x) == fingerprint(torch.from_numpy(x))


@pytest.mark.parametrize("shape", [(), (0,), (7, 0), (3,), (2, 3, 5)])
@pytest.mark.parametrize("kind", ["f4", "f8", "i2", "?", "c8", ">f4"])
def test_fingerprints_tell_arrays_apart(shape: tuple[int, ...], kind: str) -> None:
    x = np.ones(shape, kind)
    assert fingerprint(x) == fingerprint(np.asfortranarray(x))
    if kind != ">f4":
        assert fingerprint(x) == fingerprint(torch.from_numpy(np.atleast_1d(x)))
    others = [np.zeros(shape, kind), np.ones((*shape, 1), kind)]
    assert len({fingerprint(other) for other in (x, *others)}) == (3 if x.size and shape else 2)


def test_a_subset_has_a_fingerprint_of_its_own(save: Save) -> None:
    source = as_source((save(numbers(N, WIDTH)), np.arange(N)))
    assert isinstance(source, ArraySource)
    marks = [fingerprint(part) for part in (source, source.take([1, 2]), source.take([2, 1]), source.take([1, 2]))]
    assert len(set(marks)) == 3
    assert marks[1] == marks[3]
    assert repr(source).startswith("ArraySource(data=(Mapped((61, 5) float32), tensor(")


# --- what is refused, and said ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [2**24, 60])
def test_numbers_that_are_not_finite_are_named(save: Save, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("thalweg.core.mapped.CHUNK", chunk)
    x = numbers(N, WIDTH)
    x[[3, 17, 20, 21, 44, 50, 60], [0, 2, 1, 1, 1, 4, 4]] = np.nan
    says = "The train inputs hold 7 values that are not finite (NaN): rows 3, 17, 20, 21, 44, ..., columns 0, 1, 2, 4"
    for data in ((save(x), np.arange(N) % 3), (x, np.arange(N) % 3)):
        with pytest.raises(DataError, match=re.escape(says)):
            thalweg.train(recipe(data))


def test_a_mask_among_several_inputs_may_be_infinite(save: Save) -> None:
    mask = np.full((N, 2), -np.inf, np.float32)
    source = as_source(((save(numbers(N, WIDTH)), save(mask)), np.arange(N)))
    assert isinstance(source, ArraySource)
    check_finite(source.data[0], "train", "inputs")
    mask[9, 1] = np.nan
    source = as_source(((save(numbers(N, WIDTH)), save(mask)), np.arange(N)))
    assert isinstance(source, ArraySource)
    with pytest.raises(DataError, match="row"):
        check_finite(source.data[0], "train", "inputs")


def test_lengths_must_agree(save: Save) -> None:
    says = "The train split holds ((61, 5) float32, (60,) int64), whose tensors do not share axis 0"
    with pytest.raises(DataError, match=re.escape(says)):
        as_source((save(numbers(N, WIDTH)), np.arange(N - 1)))
    with pytest.raises(DataError, match=re.escape("The train split is empty: ((0, 5) float32, (0,) int64)")):
        as_source((save(numbers(3, WIDTH))[:0], np.arange(0)))


def test_text_is_no_number(save: Save) -> None:
    with pytest.raises(DataError, match="holds an array of <U1 .*'a'.*, but a network needs numbers"):
        as_source((save(np.full((N, 2), "a")), np.arange(N)))


def test_an_array_that_lies_column_by_column_is_said(save: Save) -> None:
    x = numbers(N, WIDTH)
    with collecting() as notices:
        mapped = as_source((save(np.asfortranarray(x)), np.arange(N)))
    (said,) = notices
    assert "array of shape (61, 5) column by column" in said
    assert "Write it anew with np.ascontiguousarray" in said
    assert_same(epoch(mapped, 1), epoch(as_source((x, np.arange(N))), 1))


def test_what_is_no_file_is_read_as_before() -> None:
    assert file_behind(np.ones((3, 2))) is None
    assert file_behind([[1.0]]) is None
    assert file_behind(np.ones((3, 2))[1:]) is None


# --- memory -----------------------------------------------------------------------------------------------------------


MEASURED = """
import sys
from functools import partial
import numpy as np
from torch import nn
import thalweg

def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 2**10

x = np.lib.format.open_memmap(sys.argv[1], "r")
def recipe(rows):
    net = partial(nn.Linear, x.shape[1], 2)
    data = thalweg.Splits(train=(x[:rows], np.arange(rows) % 2), validation=(x[rows:], np.arange(len(x) - rows) % 2))
    return thalweg.Recipe(data=data, model=net, objective=nn.CrossEntropyLoss(), epochs=1, batch_size=8)

thalweg.train(recipe(16).but(data=thalweg.Splits(train=(np.array(x[:16]), np.arange(16) % 2))))
before = peak()
recipe(3 * len(x) // 4).fingerprint()
thalweg.train(recipe(3 * len(x) // 4))
print(peak() - before)
"""


@pytest.mark.battery
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_a_large_array_is_not_brought_into_memory(tmp_path: Path) -> None:
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, (2000, 2**14))  # 262 MB of zeros, none on the disk
    done = subprocess.run([sys.executable, "-c", MEASURED, tmp_path / "x.npy"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 200
