"""Six real data sets, an ordinary first recipe for each, and a search by optuna that costs as much as `improve` did.

The data lie in the folder that the variable THALWEG_DATA names. Nobody has tuned the recipes: a small network, Adam or
SGD at a usual rate, columns as they come unless they are categories. The digits of the test are turned, which those of
training are not.
"""

import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from diagnosis_certify import outputs
from torch import Tensor, nn
from turned import FILES, idx

import thalweg
from thalweg.core.arrays import ArraySource
from thalweg.core.source import Splits
from thalweg.core.warp import affine, warp
from thalweg.diagnosis.laboratory import first_batch, halves
from thalweg.diagnosis.work import work
from thalweg.nn import mlp
from thalweg.remedy.circle import opened_test

ADAM, SGD, CLASSES = torch.optim.Adam, torch.optim.SGD, nn.CrossEntropyLoss()
SEEDS, FAR = 3, 700_000
"""Fresh seeds on which each recipe is scored at the end, none that anything has used."""
TURNED = 45.0
"""The digits of the test are turned by up to so many degrees."""
LONG = 30.0


@dataclass(frozen=True)
class Subject:
    """A recipe, its model by width, depth and dropout, and the widths and depths a search may choose."""

    recipe: thalweg.Recipe
    model: Callable[..., nn.Module]
    widths: tuple[int, int]
    depths: tuple[int, int]


def folder() -> Path:
    """Where the data are.

    Raises `SystemExit` where the variable names no folder.
    """
    found = Path(os.environ.get("THALWEG_DATA", ""))
    if not (found / "tables").is_dir():
        raise SystemExit(f"There is no folder tables in '{found}': name the folder of the data by THALWEG_DATA.")
    return found


def three(x: Any, y: Any, sizes: tuple[int, int] | None = None) -> Splits:
    """Train, validation and test in an order of their own: 60, 20 and 20 %, or so many of the first two."""
    order = np.random.default_rng(0).permutation(len(y))
    first, second = sizes or (len(y) * 6 // 10, len(y) * 2 // 10)
    parts = np.split(order, [first, first + second])
    train, validation, test = ((torch.as_tensor(x[part]), torch.as_tensor(y[part])) for part in parts)
    return Splits(train=train, validation=validation, test=test)


def columns(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The inputs of a table, words as 0 and 1 for each, and its last column."""
    import pandas as pd

    table = pd.read_csv(folder() / "tables" / f"{name}.csv", header=None)
    inputs = pd.get_dummies(table.iloc[:, :-1])
    return inputs.to_numpy(np.float32), table.iloc[:, -1].to_numpy()


def of_table(name: str, width: int, depth: int, classes: int = 0, **more: Any) -> Subject:
    """A network for a table: of so many classes, or of one number."""
    x, y = columns(name)
    targets = (y - y.min()).astype(np.int64) if classes else y.astype(np.float32)[:, None]
    model = partial(mlp, x.shape[1], classes or 1)
    objective = CLASSES if classes else nn.MSELoss()
    own = partial(model, width=width, depth=depth)
    recipe = thalweg.Recipe(data=three(x, targets), model=own, objective=objective, batch_size=64, **more)
    return Subject(recipe, model, (16, 256), (1, 4))


def phoneme() -> Subject:
    """5,404 vowels, nasal or oral, by five harmonics: one hidden layer, SGD."""
    return of_table("phoneme", 32, 1, 2, optimizer=partial(SGD, lr=0.01), epochs=30)


def german() -> Subject:
    """1,000 credits, good or bad, by 20 columns as they come: two hidden layers, Adam."""
    return of_table("german", 64, 2, 2, optimizer=partial(ADAM, lr=1e-3), epochs=80)


def abalone() -> Subject:
    """4,177 snails, their rings by size, weight and sex: two hidden layers, Adam."""
    return of_table("abalone", 64, 2, optimizer=partial(ADAM, lr=1e-3), epochs=30)


def winequality() -> Subject:
    """4,898 white wines, their marks by eleven measures as they come: two hidden layers, Adam."""
    return of_table("winequality-white", 64, 2, optimizer=partial(ADAM, lr=1e-3), epochs=30)


def mnist10k() -> Subject:
    """2,000 digits to train on, 1,000 to validate, 2,000 that are turned: a CNN of two blocks, Adam."""
    pixels, labels = (idx(folder() / "mnist10k" / name) for name in FILES)
    x, y = torch.from_numpy(pixels[:5000] / np.float32(255))[:, None], labels[:5000].astype(np.int64)
    data = three(x, y, (2000, 1000))
    angles = torch.empty(2000).uniform_(-TURNED, TURNED, generator=torch.Generator().manual_seed(0))
    data = Splits(data.train, data.validation, (warp(data.test[0], affine(angle=angles)), data.test[1]))
    return of_images(data, width=6, epochs=6)


def cifar5k(width: int = 6, epochs: int = 6) -> Subject:
    """5,000 small photos of ten kinds, 2,000 to train on, 1,000 to validate: a CNN of two blocks, Adam."""
    from PIL import Image

    with tarfile.open(folder() / "cifar5k" / "images.tar") as tar:
        files = sorted((one for one in tar.getmembers() if one.isfile()), key=lambda one: one.name)
        kinds = sorted({Path(one.name).parent.name for one in files})
        opened = (tar.extractfile(one) for one in files)
        pixels = [np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")) for file in opened if file is not None]
    x = np.stack(pixels).transpose(0, 3, 1, 2).astype(np.float32) / 255
    y = np.array([kinds.index(Path(one.name).parent.name) for one in files])
    return of_images(three(x, y, (2000, 1000)), width=width, epochs=epochs)


def lenet(channels: int, side: int, *, width: int, depth: int, dropout: float = 0.0) -> nn.Module:
    """The CNN of a first lesson: convolutions of 3 x 3, ReLU, max pooling, twice as many each time, then 64 units."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels, width, side = width, 2 * width, side // 2
    hidden = [nn.Flatten(), nn.Linear(channels * side * side, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 10)]
    return nn.Sequential(*layers, *hidden)


def of_images(data: Splits, width: int, epochs: int) -> Subject:
    """A network for images of ten kinds."""
    _, channels, side, _ = data.train[0].shape
    model = partial(lenet, channels, side)
    own, adam = partial(model, width=width, depth=2), partial(ADAM, lr=1e-3)
    recipe = thalweg.Recipe(data=data, model=own, objective=CLASSES, optimizer=adam, batch_size=32, epochs=epochs)
    return Subject(recipe, model, (4, 24), (1, 3))


DATA_SETS: dict[str, Callable[[], Subject]] = {
    made.__name__: made for made in (phoneme, german, abalone, winequality, mnist10k, cifar5k)
}


# --- one data set -----------------------------------------------------------------------------------------------------


def improved_real(name: str, budget: float) -> dict[str, Any]:
    """A recipe improved, searched for as long, and scored as it was, as improved and as found, on the unread half.

    `improve` ends where nothing stands out any more; the search goes on to the whole budget, and the best that it had
    found when it had cost as much as `improve` is scored as well.
    """
    subject = DATA_SETS[name]()
    recipe = subject.recipe
    began = process_time()
    thalweg.train(recipe, device="cpu")
    one, began = process_time() - began, process_time()
    told = list[float]()  # the computing time at each entry of the diary: the first finding comes first
    result = thalweg.improve(recipe, budget=budget, device="cpu", keep=lambda diary: told.append(process_time()))
    verdict, improving, began = told[0] - began, process_time() - began, process_time()
    first = result.diary[0].finding
    scored = {"before": recipe, "after": result.recipe}
    row: dict[str, Any] = {}
    try:
        found = searched(subject, [result.cost.times, max(budget, result.cost.times)])
        scored |= {"optuna, as long": found[0]["recipe"], "optuna": found[1]["recipe"]}
        row["searched"] = [{key: value for key, value in one.items() if key != "recipe"} for one in found]
        row["searching"] = process_time() - began
    except ImportError:
        pass
    goods = {which: right(one, recipe) for which, one in scored.items()}
    return row | {
        "cause": str(first.cause),
        "mechanism": first.mechanism,
        "causes": [str(turn.finding.cause) for turn in result.diary],
        "verdict_times": first.cost.times,
        "verdict_seconds": verdict,
        "one": one,
        "adopted": [turn.adopted.kept.name for turn in result.diary if turn.adopted is not None],
        "tried": [f"{proof.remedy.name}: {proof.sentence}" for proof in result.proofs],
        "ended": result.ended,
        "times": result.cost.times,
        "improving": improving,
        "scores": {which: float(good.mean()) for which, good in goods.items()},
        "gained": difference(goods["after"], goods["before"]),
        "ahead": {which: difference(goods["after"], good) for which, good in goods.items() if "optuna" in which},
        "measure": "R2" if recipe.data.train[1].is_floating_point() else "accuracy",
        "unseen": len(goods["before"]),
    }


def unread(size: int) -> np.ndarray:
    """The places of the half of a test split of this size that `improve` reads at its end alone."""
    places = torch.arange(size)
    return np.asarray(first_batch(halves(ArraySource((places, places), size))[1])[0])


def right(recipe: thalweg.Recipe, asked: thalweg.Recipe) -> np.ndarray:
    """By example of the unread half: the share of seeds that are right, or 1 less the squared error in variances."""
    x, y = asked.data.test
    places = unread(len(opened_test(asked)))
    x, y = x[places], y[places]
    plain = recipe.but(data=Splits(recipe.data.train, recipe.data.validation))
    runs = [thalweg.train(plain.but(seed=recipe.seed + FAR + seed), device="cpu") for seed in range(SEEDS)]
    return np.mean([_good(run, x, y) for run in runs], axis=0)


def _good(run: Any, x: Tensor, y: Tensor) -> np.ndarray:
    if not run.status.good:
        return np.zeros(len(y))
    said = outputs(run.model, x, 500)
    if y.is_floating_point():
        return (1 - (said.reshape(y.shape) - y) ** 2 / y.var(correction=0)).double().numpy()[:, 0]
    return (said.argmax(1) == y).double().numpy()


def difference(first: np.ndarray, second: np.ndarray) -> list[float]:
    """By how much the first score is higher, with its 95 % interval from resamples of examples.

    >>> difference(np.ones(4), np.zeros(4))
    [1.0, 1.0, 1.0]
    """
    apart = first - second
    drawn = np.random.default_rng(0).integers(0, len(apart), (2000, len(apart)))
    low, high = np.quantile(apart[drawn].mean(1), [0.025, 0.975])
    return [float(apart.mean()), float(low), float(high)]


def searched(subject: Subject, budgets: list[float]) -> list[dict[str, Any]]:
    """The best recipe that optuna (TPE) has found by the validation loss when it had spent each of the budgets.

    Budgets rise, in multiples of one training of the recipe; the trial that reaches one counts to it.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own, spent, found = subject.recipe, 0.0, list[dict[str, Any]]()
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    for budget in budgets:
        while spent < budget:
            trial = study.ask()
            recipe = suggested(trial, subject)
            spent += work(recipe) / work(own)
            run = thalweg.train(recipe.but(data=Splits(own.data.train, own.data.validation)), device="cpu")
            loss = min((row["validation_loss"] for row in run.history), default=1e9) if run.status.good else 1e9
            study.tell(trial, loss)
        known = {"recipe": suggested(study.best_trial, subject), "chosen": study.best_params}
        found.append(known | {"trials": len(study.trials), "times": spent})
    return found


def suggested(trial: Any, subject: Subject) -> thalweg.Recipe:
    """The recipe that a trial asks for: AdamW's rate and decay, width, depth, dropout, batch size and epochs."""
    own = subject.recipe
    rate, decay = trial.suggest_float("lr", 1e-4, 1e-1, log=True), trial.suggest_float("decay", 1e-6, 1e-1, log=True)
    width, depth = trial.suggest_int("width", *subject.widths, log=True), trial.suggest_int("depth", *subject.depths)
    model = partial(subject.model, width=width, depth=depth, dropout=trial.suggest_float("dropout", 0.0, 0.5))
    size = trial.suggest_categorical("batch_size", [16, 32, 64, 128, 256])
    epochs = trial.suggest_int("epochs", max(1, own.epochs // 2), own.epochs * 2)
    optimizer = partial(torch.optim.AdamW, lr=rate, weight_decay=decay)
    return own.but(model=model, optimizer=optimizer, batch_size=size, epochs=epochs)


def long_training() -> str:
    """What a verdict costs on a training of more than 30 seconds, in multiples of it."""
    recipe = cifar5k(width=16, epochs=32).recipe
    began = process_time()
    thalweg.train(recipe, device="cpu")
    one, began = process_time() - began, process_time()
    finding = thalweg.diagnose(recipe, device="cpu")
    took = process_time() - began
    return (
        f"cifar5k, a CNN for {recipe.epochs} epochs: one training {one:.0f} s; the verdict {finding.cause} "
        f"({finding.mechanism}) {took:.0f} s = {took / one:.1f} times as long, {finding.cost.times:.1f} by its price"
    )


def table_of(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The rows in lines."""
    lines = []
    for name, row in rows.items():
        if "error" in row:
            lines.append(f"{name:<12} {row['error']}\n{row.get('traceback', '')}")
            continue
        verdict = f"{row['verdict_times']:.1f} trainings, {row['verdict_seconds']:.0f} s"
        scores = ", ".join(f"{which} {value:.3f}" for which, value in row["scores"].items())
        gained = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row["gained"])
        lines += [
            f"{name:<12} {row['cause']}: {row['mechanism']}",
            f"    verdict {verdict}; one training {row['one']:.1f} s",
            f"    {row['measure']} on {row['unseen']} unseen: {scores}; improved by {gained}",
            f"    adopted: {'; '.join(row['adopted']) or 'nothing'} ({', '.join(row['causes'])}); {row['ended']}",
            f"    improve {row['times']:.0f} trainings, {row['improving']:.0f} s",
        ]
        for (which, ahead), search in zip(row["ahead"].items(), row.get("searched", ()), strict=True):
            cost = f"{search['trials']} trials for {search['times']:.0f} trainings"
            beyond = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*ahead)
            lines.append(f"    {which}: {cost}; improve ahead by {beyond}; it chose {search['chosen']}")
        if "searching" in row:
            lines.append(f"    the search took {row['searching']:.0f} s")
    return lines
