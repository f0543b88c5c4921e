"""Training on augmented examples: the same bits again, after an interrupt, in folds; judging sees the plain ones."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from resuming import bits, broken_off
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset, WeightedRandomSampler

import thalweg
from thalweg import DataError, Recipe, RecipeError, Splits, Unsupported
from thalweg.core.arrays import ArraySource
from thalweg.core.convert import Batching, as_source
from thalweg.core.nest import Nest
from thalweg.core.randomness import generator
from thalweg.core.source import Indexed
from thalweg.data import Augment, Augmented, TableSource, augment, load_table
from thalweg.diagnosis.laboratory import merged
from thalweg.nn import cnn, mlp

N = 44
TURN = Augment(rotate=30, flip=True, noise=0.1)


def examples(n: int = N) -> tuple[Tensor, Tensor]:
    """Bars that stand or lie, and which of the two."""
    random = torch.Generator().manual_seed(3)
    x, y = 0.3 * torch.rand(n, 1, 6, 6, generator=random), torch.arange(n) % 2
    x[y == 0, :, 2:4] += 0.5
    x[y == 1, :, :, 2:4] += 0.5
    return x, y


def recipe(**changes: Any) -> Recipe:
    made = Recipe(
        data=augment(Splits(train=examples(), validation=examples(20)), TURN),
        model=partial(cnn, 1, 2, width=2, depth=1),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        batch_size=11,
        epochs=2,
    )
    return made.but(**changes)


class Images(Dataset[Any]):
    def __init__(self) -> None:
        self.x, self.y = examples()

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        return self.x[index], int(self.y[index])


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from zip(*examples(), strict=True)


class Own:
    """A source of a user's own, which says nothing of its examples."""

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        yield from (batch for batch in list(zip(*(part.split(11) for part in examples()), strict=True))[start:])


def drawn(source: Any, epoch: int = 1, start: int = 0, seed: int = 0) -> list[Any]:
    return list(source.batches(epoch, start, generator(seed, "order", epoch)))


SPLITS: dict[str, Any] = {
    "a pair": examples,
    "a data set": Images,
    "a tensor data set": lambda: TensorDataset(*examples()),
    "a loader": lambda: DataLoader(Images(), batch_size=11, shuffle=True),
    "a loader in order": lambda: DataLoader(Images(), batch_size=11),
    "a weighted loader": lambda: DataLoader(Images(), 11, sampler=WeightedRandomSampler([1.0, 3.0] * 22, 33)),
    "a stream": lambda: DataLoader(Endless(), batch_size=11),
    "a source": Own,
}  # fmt: skip


# --- the same bits ---


@pytest.mark.parametrize("name", SPLITS)
def test_a_run_comes_out_again_and_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    chosen = recipe(data=augment(Splits(train=SPLITS[name](), validation=examples(20)), TURN))
    whole = thalweg.train(chosen)
    torch.rand(7)
    assert bits(thalweg.train(chosen)) == bits(whole)
    path = broken_off(chosen, tmp_path, 5 if name != "a weighted loader" else 4)
    assert bits(thalweg.resume(path, chosen)) == bits(whole)
    plain = thalweg.train(chosen.but(data=Splits(train=SPLITS[name](), validation=examples(20))))
    assert bits(plain) != bits(whole)


@pytest.mark.parametrize("knobs", [{"mixup": 0.4, "classes": 2}, {"cutout": 0.4, "crop": 1, "scale": 0.2}])
@pytest.mark.parametrize("copies", [0, 2])
def test_every_kind_of_change_goes_on_to_the_same_bits(knobs: dict[str, Any], copies: int, tmp_path: Path) -> None:
    data = augment(Splits(train=examples(), validation=examples(20)), copies=copies, **knobs)
    chosen = recipe(data=data)
    assert bits(thalweg.resume(broken_off(chosen, tmp_path, 6), chosen)) == bits(thalweg.train(chosen))


@pytest.mark.parametrize("name", [name for name in SPLITS if name not in ("a stream", "a source")])
def test_an_example_gets_its_own_whatever_the_batches(name: str) -> None:
    source, x = Augmented(SPLITS[name](), TURN).batched(11), examples()[0]
    key = generator(0, "order", 1).initial_seed()
    chunks = source.ordered(1, generator(0, "order", 1))
    batches = drawn(source)
    for ids, (images, _) in zip(chunks, batches, strict=True):
        assert torch.allclose(images, TURN(x[ids], torch.zeros(len(ids)), key, ids)[0])
    assert [len(images) for images, _ in drawn(source, start=2)] == [len(images) for images, _ in batches[2:]]
    assert torch.equal(drawn(source, start=2)[0][0], batches[2][0])


class Drawing(Sampler[int]):
    """A sampler of a user's own, which draws from torch's global stream."""

    def __iter__(self) -> Iterator[int]:
        yield from torch.randperm(N).tolist()

    def __len__(self) -> int:
        return N


def test_a_sampler_that_draws_from_the_global_stream_draws_as_without_augmentation() -> None:
    loader = DataLoader(Images(), batch_size=11, sampler=Drawing())
    torch.manual_seed(5)
    plain = drawn(as_source(loader))
    after = torch.rand(1)
    torch.manual_seed(5)
    changed, key = drawn(Augmented(loader, TURN)), generator(0, "order", 1).initial_seed()
    assert torch.equal(torch.rand(1), after)
    place = {tuple(image.flatten().tolist()): i for i, image in enumerate(examples()[0])}
    for (x, y), (image, target) in zip(plain, changed, strict=True):
        ids = torch.tensor([place[tuple(each.flatten().tolist())] for each in x])
        assert torch.equal(y, target)
        assert torch.allclose(TURN(x, y, key, ids)[0], image)


def test_every_epoch_and_every_seed_has_its_own() -> None:
    first, second = (torch.cat([x for x, _ in drawn(Augmented(examples(), TURN), epoch)]) for epoch in (1, 2))
    assert not torch.allclose(first.sum((1, 2, 3)).sort()[0], second.sum((1, 2, 3)).sort()[0])
    one, other = (drawn(Augmented(examples(), TURN), seed=seed)[0][0] for seed in (0, 1))
    assert not torch.allclose(one, other)


def test_the_order_of_examples_is_that_without_augmentation() -> None:
    source = as_source(examples())
    for (_, plain), (_, target) in zip(drawn(source), drawn(Augmented(source, TURN)), strict=True):
        assert torch.equal(plain, target)


def test_all_examples_at_once() -> None:
    whole = Augmented(examples(), TURN).batched(None)
    ((x, _),) = drawn(whole)
    assert x.shape == (N, 1, 6, 6)
    (small, _), *_ = drawn(whole.batched(5))
    assert torch.allclose(small, x[:5])
    assert thalweg.train(recipe(batch_size=None)).status.good


# --- judging, subsets, folds ---


@pytest.mark.parametrize("copies", [0, 3])
def test_judging_sees_the_examples_as_they_are(copies: int) -> None:
    source = Augmented(examples(), TURN, copies)
    for (x, y), (plain, target) in zip(source.batches(0, 0, None), as_source(examples()).batches(0, 0, None),
                                       strict=True):  # fmt: skip
        assert torch.equal(x, plain)
        assert torch.equal(y, target)


@pytest.mark.parametrize("name", ["a pair", "a loader"])
def test_an_example_keeps_its_own_in_subsets_of_subsets(name: str) -> None:
    source = Augmented(SPLITS[name](), TURN)
    part = source.take([9, 3, 4, 30, 31]).take([4, 1])
    key = generator(0, "order", 1).initial_seed()
    x, _ = drawn(part)[0]
    for image in x:
        assert any(torch.allclose(image, TURN(examples()[0][[i]], torch.zeros(1), key, torch.tensor([i]))[0][0])
                   for i in (31, 3))  # fmt: skip
    assert torch.equal(next(iter(part.batches(0, 0, None)))[0], examples()[0][[31, 3]])


def test_it_is_all_that_its_source_is() -> None:
    frame = pd.DataFrame(torch.rand(40, 36).numpy())
    frame["kind"] = list("abcd") * 10
    table = load_table(frame, target="kind", layout=[1, 6, 6]).train
    assert isinstance(table, TableSource)
    source = Augmented(table, TURN)
    assert isinstance(source, Indexed)
    assert source.meta([1, 0])["label"].tolist() == table.meta([1, 0])["label"].tolist()
    assert source.count_batches() == table.count_batches()
    fitted = source.fit([0, 1, 2])
    assert fitted.source.encoding.to_json() == table.fit([0, 1, 2]).encoding.to_json()
    assert torch.equal(source.restore(torch.ones(2)), table.restore(torch.ones(2)))
    assert len(drawn(source.batched(7))) == -(-len(table) // 7)


class Scaled(Own):
    """A source whose targets are in hundreds, and which leaves the batch size to the recipe."""

    def __init__(self, size: int | None = 11) -> None:
        self.size = size

    def batches(self, epoch: int, start: int, generator: torch.Generator | None) -> Iterator[Nest]:
        yield from ArraySource(examples(), self.size).batches(epoch, start, generator)

    def batched(self, size: int | None, merge_single: bool = False) -> "Scaled":
        return Scaled(size)

    def restore(self, values: Any) -> Any:
        return 100 * values


def test_a_stream_keeps_its_units_and_its_batch_size() -> None:
    stream = as_source(augment(Splits(train=Scaled()), TURN).train, batching=Batching(7))
    assert [len(x) for x, _ in drawn(stream)] == [len(x) for x, _ in stream.batches(0, 0, None)] == [7] * 6 + [2]
    assert float(stream.restore(torch.ones(()))) == 100
    bare = augment(Splits(train=Own()), TURN).train
    assert bare.batched(7) is bare
    assert float(bare.restore(torch.ones(()))) == 1


def test_folds_hold_out_plain_examples() -> None:
    folds = thalweg.cross_validate(recipe(), folds=2)
    for run in folds.runs:
        assert run.recipe is not None
        train, held_out = run.recipe.data.train, run.recipe.data.validation
        assert isinstance(train, Augmented)
        assert len(train) + len(held_out) == N
    assert bits(folds.runs[0]) == bits(thalweg.cross_validate(recipe(), folds=2).runs[0])


def test_a_recipe_with_augmentation_is_diagnosed() -> None:
    finding = thalweg.diagnose(recipe(epochs=1), budget=6)
    assert finding.cause is not None


@pytest.mark.parametrize("part", [None, [9, 3, 30]])
def test_more_data_are_added_to_an_augmented_split(part: list[int] | None) -> None:
    """A diagnosis asks whether more examples help: the old ones keep what they get, the new ones are changed too."""
    whole = Augmented(as_source(examples()), TURN)
    source = whole if part is None else whole.take(part)
    more = merged(source, as_source(examples(20)))
    assert isinstance(more, Augmented)
    assert len(more) == len(source) + 20
    numbers = list(range(N)) if part is None else part
    ids = torch.tensor([*numbers, *range(max(numbers) + 1, max(numbers) + 21)])
    x, key = torch.cat([examples()[0][numbers], examples(20)[0]]), generator(0, "order", 1).initial_seed()
    expected = TURN(x, torch.zeros(len(x)), key, ids)[0]
    places = torch.cat(more.ordered(1, generator(0, "order", 1)))
    assert torch.allclose(torch.cat([x for x, _ in drawn(more)]), expected[places], atol=1e-6)


# --- copies ---


def test_copies_are_added_and_stay_the_same() -> None:
    source = Augmented(examples(), TURN, copies=2).batched(12)
    assert (len(source), source.count_batches()) == (N, 11)
    epochs = [torch.cat([x for x, _ in drawn(source, epoch)]).flatten(1) for epoch in (1, 2)]
    first, second = (rows[rows.sum(1).argsort()] for rows in epochs)
    assert torch.equal(first, second)
    rows = {tuple(row) for row in first.tolist()}
    assert all(tuple(row) in rows for row in examples()[0].flatten(1).tolist())
    assert len(first.unique(dim=0)) == 3 * N
    part = source.take([5])
    assert torch.equal(torch.cat([x for x, _ in drawn(part)]).sum((1, 2, 3)).sort().values,
                       source.multiplied.data[0][[5, 5 + N, 5 + 2 * N]].sum((1, 2, 3)).sort().values)  # fmt: skip
    assert sorted(torch.cat(source.ordered(1, generator(0, "order", 1))).tolist()) == sorted([*range(N)] * 3)


def test_copies_of_mixtures_have_probabilities() -> None:
    source = Augmented(examples(), Augment(mixup=0.5, classes=2), copies=1)
    y = torch.cat([target for _, target in drawn(source)])
    assert y.shape == (2 * N, 2)
    assert torch.allclose(y.sum(1), torch.ones(2 * N))
    assert 0 < int(((y > 0) & (y < 1)).any(1).sum()) <= N


# --- many runs ---


def test_many_runs_are_those_of_one() -> None:
    """Networks that could be one program, over examples that no two runs share."""
    chosen = recipe(model=partial(mlp, 36, 2, width=8, depth=1))
    seeds = [chosen.but(seed=seed) for seed in range(2)]
    assert [bits(run) for run in thalweg.train_many(seeds)] == [bits(thalweg.train(each)) for each in seeds]


# --- what is said ---


def test_recipes_differ_by_a_number() -> None:
    turned = [recipe(data=augment(Splits(train=examples()), rotate=angle)) for angle in (15, 30, 15)]
    assert turned[0].difference(turned[1]) == ["augment.rotate 15 -> 30"]
    assert turned[0].difference(turned[2]) == []
    assert turned[0].fingerprint() == turned[2].fingerprint() != turned[1].fingerprint()
    (line,) = turned[0].difference(recipe(data=Splits(train=examples())))
    assert line == "splits.train Augmented(44 examples, Augment(rotate=15)) -> (Tensor(44, 1, 6, 6), Tensor(44,))"
    copied = recipe(data=augment(Splits(train=examples()), rotate=15, copies=2))
    assert turned[0].difference(copied) == ["copies 0 -> 2"]


@pytest.mark.parametrize(
    ("made", "error", "words"),
    [
        (lambda: augment(examples(), rotate=15), RecipeError, r"it takes thalweg.Splits"),
        (lambda: augment(Splits(train=examples())), RecipeError, "either an Augment or its settings"),
        (lambda: augment(Splits(train=examples()), TURN, rotate=3), RecipeError, "either an Augment or its settings"),
        (lambda: augment(Splits(train=examples()), rotat=15), RecipeError, "Did you mean 'rotate'"),
        (lambda: augment(Splits(train=examples()), rotate=15, copies=-1), RecipeError, "copies=-1"),
        (lambda: Augmented(examples(), 15), RecipeError, "augmented by 15, but it takes an Augment"),
        (lambda: Augmented(Augmented(examples(), TURN), TURN), RecipeError, "augmented already"),
        (lambda: Augmented(Own(), TURN), Unsupported, "cannot name the examples"),
        (lambda: augment(Splits(train=Own()), TURN, copies=1), Unsupported, "cannot name the examples"),
        (lambda: Augmented(SPLITS["a weighted loader"](), TURN, 1), Unsupported, "the loader has a sampler"),
        (lambda: drawn(Augmented((*examples(), examples()[1]), TURN)), DataError, r"what is augmented is a pair"),
        (lambda: Augmented((examples()[0], examples()[1][:3]), TURN), DataError, "do not share axis 0"),
    ],
)
def test_what_cannot_be_augmented_is_said(made: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        made()


def test_numbers_that_are_not_finite_are_found_before_they_are_moved() -> None:
    x, y = examples()
    x[3, 0, 2, 2] = float("nan")
    with pytest.raises(DataError, match="train inputs hold 1 value that is not finite"):
        thalweg.train(recipe(data=augment(Splits(train=(x, y)), TURN)))


def test_classes_that_are_never_trained_on_are_said() -> None:
    x, y = examples(20)
    run = thalweg.train(recipe(data=augment(Splits(train=examples(), validation=(x, y * 2)), TURN), epochs=1,
                               model=partial(cnn, 1, 3, width=2, depth=1)))  # fmt: skip
    assert any("Classes that appear only in validation" in notice for notice in run.notices)


def test_the_source_of_arrays_is_left_as_it_is() -> None:
    source = ArraySource(examples(), 11)
    before = source.data[0].clone()
    drawn(Augmented(source, TURN, copies=1))
    drawn(Augmented(source, TURN))
    assert torch.equal(source.data[0], before)
