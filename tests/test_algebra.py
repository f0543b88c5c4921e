"""The algebra on its hardest inputs: each in at most 40 lines, through `train`, `train_many` and `evaluate`."""

import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import networkx
import pytest
import torch
from resuming import bits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

import thalweg
from thalweg import Losses, Moment, Recipe, Run, Splits

ADAM = partial(torch.optim.Adam, lr=0.01)


def through_all_doors(recipe: Recipe, split: Any) -> tuple[Run, dict[str, tuple[float, float, float]]]:
    """Train once, train again among others, and judge: the doors that every input has to pass."""
    run = thalweg.train(recipe)
    again, other = thalweg.train_many([recipe, recipe.but(seed=recipe.seed + 1)])
    assert [row["train_loss"] for row in again.history] == [row["train_loss"] for row in run.history]
    assert other.history[-1]["train_loss"] != run.history[-1]["train_loss"]
    assert run.status is thalweg.Outcome.FINISHED
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]
    goes_on(recipe, run)
    return run, thalweg.evaluate(run, split)


def goes_on(recipe: Recipe, whole: Run) -> None:
    """Broken off in the middle of a step's epoch, or in an epoch of an own loop, it ends with the same bits."""
    steps: list[int] = []
    thalweg.train(recipe, progress=lambda epoch, step, row: steps.append(step))

    def interrupt(epoch: int, step: int, row: Any) -> None:
        if step >= max(steps) // 2 and (row is None or recipe.loop is not None):
            signal.raise_signal(signal.SIGINT)

    with tempfile.TemporaryDirectory() as folder:
        broken = thalweg.train(recipe, out=folder, progress=interrupt)
        assert broken.status is thalweg.Outcome.INTERRUPTED
        assert bits(thalweg.resume(str(broken.path), recipe)) == bits(whole)


# --- a graph with node masks ---


class GraphConvolution(nn.Module):
    """Two rounds of averaging over neighbours (Kipf & Welling 2017), on a dense normalized adjacency."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(features, hidden), nn.Linear(hidden, classes)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        n = len(features)
        adjacency = torch.eye(n).index_put((edges[0], edges[1]), torch.ones(edges.shape[1]))
        degree = adjacency.sum(1).rsqrt()
        spread = degree[:, None] * adjacency * degree
        return spread @ self.second(F.relu(spread @ self.first(features)))


@thalweg.objective
def node_loss(model: nn.Module, batch: Any) -> Losses:
    (features, edges), (labels, mask) = batch
    values = F.cross_entropy(model(features, edges), labels, reduction="none")
    return Losses(values, weight=mask, unit=torch.arange(len(labels)))


@thalweg.objective
def node_accuracy(model: nn.Module, batch: Any) -> Losses:
    (features, edges), (labels, mask) = batch
    return Losses((model(features, edges).argmax(1) == labels).float(), weight=mask)


def karate() -> tuple[Any, Tensor]:
    graph = networkx.karate_club_graph()
    one_way = torch.tensor(list(graph.edges)).T
    labels = torch.tensor([int(graph.nodes[node]["club"] == "Officer") for node in graph])
    return (torch.eye(34), torch.cat([one_way, one_way.flip(0)], 1)), labels


def test_karate_club_with_node_masks() -> None:
    inputs, labels = karate()
    seen = torch.zeros(34, dtype=torch.bool)
    seen[[0, 1, 2, 33, 32, 31]] = True
    recipe = Recipe(
        data=Splits(train=(inputs, (labels, seen)), validation=(inputs, (labels, ~seen))),
        model=partial(GraphConvolution, 34, 7, 2),
        objective=node_loss,
        metrics={"accuracy": node_accuracy},
        optimizer=ADAM,
        batch_size=None,
        epochs=60,
    )
    _, scores = through_all_doors(recipe, (inputs, (labels, ~seen)))
    assert scores["accuracy"][0] > 0.85
    assert scores["accuracy"][1] < scores["accuracy"][0] <= scores["accuracy"][2] <= 1
    folds = thalweg.cross_validate(recipe, folds=3)
    held_out = [run.recipe.data.validation.mask for run in folds.runs]
    assert torch.equal(sum(mask.int() for mask in held_out), seen.int())


# --- a copy task: teacher forcing, scheduled sampling, a reward for whole sequences ---

BOS, SYMBOLS, LENGTH = 0, 5, 4


class Copier(nn.Module):
    """An encoder-decoder small enough to read: a GRU reads the source, another writes token by token."""

    def __init__(self, hidden: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(SYMBOLS + 1, hidden)
        self.reader, self.writer = nn.GRU(hidden, hidden, batch_first=True), nn.GRUCell(hidden, hidden)
        self.out = nn.Linear(hidden, SYMBOLS + 1)

    def encode(self, source: Tensor) -> Tensor:
        return self.reader(self.embed(source))[1][0]

    def step(self, state: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        state = self.writer(self.embed(tokens), state)
        return state, self.out(state).log_softmax(-1)


@thalweg.objective
def teacher_forced(model: Copier, batch: Any, moment: Moment, sampled_share: float = 0.0) -> Losses:
    """One value a sentence, weighted by its tokens; a growing share of the inputs is the model's own."""
    source, target = batch
    state, tokens = model.encode(source), torch.full_like(target[:, 0], BOS)
    share = sampled_share * moment.step / moment.steps if moment.training and moment.steps else 0.0
    losses = []
    for position in range(target.shape[1]):
        state, log_probs = model.step(state, tokens)
        losses.append(-log_probs.gather(1, target[:, position, None])[:, 0])
        own = torch.rand(len(tokens), generator=moment.generator) < share
        tokens = torch.where(own, log_probs.argmax(1), target[:, position])
    return Losses(torch.stack(losses, 1).mean(1), weight=torch.full((len(target),), float(target.shape[1])))


@thalweg.objective
def self_critical(model: Copier, batch: Any, moment: Moment) -> Losses:
    """Reward for a whole sampled sequence, against the greedy one as baseline (Rennie et al. 2017)."""
    source, target = batch
    greedy, _ = written(model, source, None)
    sample, log_prob = written(model, source, moment.generator)
    advantage = (sample == target).float().mean(1) - (greedy == target).float().mean(1)
    return Losses(-advantage * log_prob)


@thalweg.objective
def exact_match(model: Copier, batch: Any) -> Tensor:
    source, target = batch
    return (written(model, source, None)[0] == target).all(1).float()


@thalweg.objective
def wrong_tokens(model: Copier, batch: Any) -> Tensor:
    source, target = batch
    return (written(model, source, None)[0] != target).float().mean(1)


def written(model: Copier, source: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    state, tokens = model.encode(source), torch.full_like(source[:, 0], BOS)
    chosen, total = [], torch.zeros(len(source))
    for _ in range(source.shape[1]):
        state, log_probs = model.step(state, tokens)
        tokens = (
            log_probs.argmax(1)
            if generator is None
            else torch.multinomial(log_probs.exp(), 1, generator=generator).squeeze(1)
        )
        total = total + log_probs.gather(1, tokens[:, None])[:, 0]
        chosen.append(tokens)
    return torch.stack(chosen, 1), total


def copy_recipe(**changes: Any) -> Recipe:
    source = torch.randint(1, SYMBOLS + 1, (160, LENGTH), generator=torch.Generator().manual_seed(0))
    splits = Splits(train=(source[:128], source[:128]), validation=(source[128:], source[128:]))
    recipe = Recipe(
        data=splits, model=Copier, objective=teacher_forced, metrics={"exact": exact_match}, optimizer=ADAM, epochs=12
    )
    return recipe.but(**changes)


def test_copying_with_teacher_forcing() -> None:
    recipe = copy_recipe()
    run, scores = through_all_doors(recipe, recipe.data.validation)
    assert scores["exact"][0] > run.history[0]["metrics"]["exact"]


def test_copying_with_scheduled_sampling() -> None:
    recipe = copy_recipe(objective=partial(teacher_forced, sampled_share=0.5))
    sampled, _ = through_all_doors(recipe, recipe.data.validation)
    forced = thalweg.train(copy_recipe())
    assert sampled.history[0]["train_loss"] != forced.history[0]["train_loss"]
    assert sampled.history[-1]["validation_loss"] < sampled.history[0]["validation_loss"]


@pytest.mark.battery
def test_copying_with_a_reward_for_whole_sequences() -> None:
    teacher = thalweg.train(copy_recipe(epochs=25))
    state = teacher.last.state_dict()

    def trained_copier() -> Copier:
        model = Copier()
        model.load_state_dict(state)
        return model

    recipe = copy_recipe(
        model=trained_copier, objective=self_critical, judge=wrong_tokens, optimizer=partial(ADAM, lr=0.003), epochs=40,
        seed=1,
    )  # fmt: skip
    run = thalweg.train(recipe)
    goes_on(recipe, run)
    again, other = thalweg.train_many([recipe, recipe.but(seed=2)])
    assert [row["train_loss"] for row in again.history] == [row["train_loss"] for row in run.history]
    assert [row["train_loss"] for row in other.history] != [row["train_loss"] for row in run.history]
    before = thalweg.evaluate(thalweg.train(recipe.but(epochs=1)), recipe.data.train)["loss"][0]
    assert thalweg.evaluate(run, recipe.data.train)["loss"][0] < 0.7 * before


# --- loaders of every kind ---


class Stream(IterableDataset[Any]):
    """Points on a line, made as they are asked for; it starts over in every epoch."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        random = torch.Generator().manual_seed(3)
        for _ in range(70):
            x = torch.randn(2, generator=random)
            yield x, x.sum()[None]


def test_an_iterable_dataset() -> None:
    loader = DataLoader(Stream(), batch_size=16)
    recipe = Recipe(
        data=Splits(train=loader, validation=loader),
        model=lambda: nn.Linear(2, 1),
        objective=nn.MSELoss(),
        optimizer=ADAM,
        epochs=5,
    )
    _, scores = through_all_doors(recipe, loader)
    value, low, high = scores["loss"]
    assert low <= value <= high


class Tagger(nn.Module):
    """Takes its inputs by name, as a dict batch gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(11, 7), nn.Linear(7, 3)

    def forward(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        return self.out(self.embed(tokens) * attention_mask[..., None])


@thalweg.objective
def tagging_loss(model: nn.Module, batch: dict[str, Tensor]) -> Losses:
    logits = model(tokens=batch["tokens"], attention_mask=batch["attention_mask"])
    values = F.cross_entropy(logits.mT, batch["labels"], reduction="none") * batch["attention_mask"]
    tokens = batch["attention_mask"].sum(1)
    return Losses(values.sum(1) / tokens, weight=tokens)


def test_a_loader_of_dict_batches() -> None:
    random = torch.Generator().manual_seed(0)
    examples = []
    for _ in range(50):
        length = int(torch.randint(2, 6, (1,), generator=random))
        tokens = torch.randint(0, 11, (5,), generator=random)
        examples.append({"tokens": tokens, "attention_mask": (torch.arange(5) < length).float(), "labels": tokens % 3})
    loader = DataLoader(examples, batch_size=8, shuffle=True)
    recipe = Recipe(data=Splits(train=loader), model=Tagger, objective=tagging_loss, optimizer=ADAM, epochs=5)
    _, scores = through_all_doors(recipe, loader)
    assert scores["loss"][1] < scores["loss"][0] < scores["loss"][2]


# --- models and loops of other shapes ---


def test_a_model_with_two_inputs() -> None:
    random = torch.Generator().manual_seed(0)
    left, right = torch.randn(60, 3, generator=random), torch.randn(60, 5, generator=random)
    y = (left[:, :1] * right[:, 1:2]).contiguous()
    recipe = Recipe(
        data=Splits(train=((left, right), y)),
        model=lambda: nn.Bilinear(3, 5, 1),
        objective=nn.MSELoss(),
        optimizer=ADAM,
        epochs=10,
    )
    through_all_doors(recipe, ((left, right), y))
    by_name = recipe.but(data=Splits(train=({"input1": left, "input2": right}, y)))
    assert thalweg.train(by_name).history[-1]["train_loss"] == thalweg.train(recipe).history[-1]["train_loss"]


def own_loop(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Any, objective: Any) -> None:
    for x, y in batches:
        optimizer.zero_grad()
        objective(model(x), y).backward()
        optimizer.step()


def loop_without_zero_grad(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Any, objective: Any) -> None:
    for x, y in batches:
        objective(model(x), y).backward()
        optimizer.step()


def test_an_own_loop_trains_as_it_is_written() -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(
        data=Splits(train=(x, x.sum(1, keepdim=True))),
        model=lambda: nn.Linear(3, 1),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.SGD, lr=0.05),
        epochs=8,
        batch_size=8,
    )
    ours = thalweg.train(recipe)
    theirs, _ = through_all_doors(recipe.but(loop=own_loop), recipe.data.train)
    faulty = thalweg.train(recipe.but(loop=loop_without_zero_grad))
    goes_on(recipe.but(loop=loop_without_zero_grad), faulty)
    assert [row["train_loss"] for row in theirs.history] == [row["train_loss"] for row in ours.history]
    assert faulty.history[-1]["train_loss"] > 10 * ours.history[-1]["train_loss"]
