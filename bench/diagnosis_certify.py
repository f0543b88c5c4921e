"""Whether a fault harms and its repaired twin is as good as others are, measured: three seeds, intervals, references.

A case is certified where the repaired twin reaches the best of the reference learners within noise, and the faulty one
is worse than the twin beyond noise, in every seed, by a material amount; a healthy one where it reaches the references.
Errors are computed here from outputs: the share of wrong classes, or for numbers the squared error as a share of the
variance (1 - R²). What is measured is kept in diagnosis_certified.json under the hash of the case's source.
"""

import argparse
import json
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from diagnosis_cases import CASES, Case
from torch import nn
from torch.utils.data import DataLoader, default_collate

import thalweg
from thalweg.diagnosis import Cause

CERTIFIED = Path(__file__).with_name("diagnosis_certified.json")
SEEDS = 3
MATERIAL = 0.04
"""The least error that a fault adds: four points in a hundred of wrong classes, or of variance."""
PLAIN = 0.1
"""The harm that two seeds of the faulty program are enough to show."""
AS_GOOD = 0.02
"""How much worse than the best reference a healthy program may be where noise is less."""


def split_of(recipe: thalweg.Recipe, name: str, opens: Any = None) -> tuple[Any, Any]:
    """Inputs and scored targets of a split as tensors; inputs may be a tuple or a dict of them."""
    split: Any = getattr(recipe.data, name)
    dataset = split.dataset if isinstance(split, DataLoader) else split
    opens = opens or (lambda pair: pair)
    if isinstance(dataset, tuple):
        return opens(dataset)
    x, y = default_collate([opens(dataset[i]) for i in range(len(dataset))])
    return x, y


def outputs(model: nn.Module, x: Any, size: int | None) -> Any:
    """What a model says of inputs, in the batches that it was trained in; several outputs as a tuple."""
    torch.manual_seed(0)
    if isinstance(x, tuple | list):
        ask, columns = (lambda *part: model(*part)), list(x)
    elif isinstance(x, dict):
        ask, columns = (lambda *part: model(**dict(zip(x, part, strict=True)))), list(x.values())
    else:
        ask, columns = model, [x]
    with torch.no_grad():
        parts = zip(*(column.split(size or len(column)) for column in columns), strict=True)
        said = [ask(*part) for part in parts]
    if isinstance(said[0], tuple):
        return tuple(torch.cat(each) for each in zip(*said, strict=True))
    return torch.cat(said)


def wrong(task: str, output: Any, target: Any, reads: Any = None) -> np.ndarray:
    """The error of every example: wrong or not, the share of wrong labels or steps, or of the variance.

    Classes and labels below 0 are not known, and not counted.

    >>> wrong("multi-class", torch.eye(3), torch.tensor([0, 1, 1])).tolist()
    [0.0, 0.0, 1.0]
    >>> wrong("regression", torch.zeros(2, 1), torch.tensor([[1.0], [-1.0]])).tolist()
    [1.0, 1.0]
    """
    output = output if reads is None else reads(output)
    if target.is_floating_point() and task in ("regression", "sequence"):
        output = output.reshape(target.shape)
        error = (output - target) ** 2 / ((target - target.mean(0)) ** 2).mean().clamp(min=1e-12)
        error = error.nan_to_num(10.0, 10.0).clamp(max=10.0)
    elif target.is_floating_point():
        error = (output.reshape(target.shape) > 0) != (target > 0.5)
    else:
        error = output.argmax(1) != target
    return known_mean(error.reshape(len(target), -1).double().numpy(), classes_of(task, target))


def classes_of(task: str, target: Any) -> np.ndarray | None:
    """Targets by row where they are classes or labels, None where they are numbers.

    >>> classes_of("multi-class", torch.tensor([1, 0])).tolist()
    [[1], [0]]
    """
    if target.is_floating_point() and task in ("regression", "sequence"):
        return None
    return target.reshape(len(target), -1).numpy()


def known_mean(error: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
    """The mean error of each row over what is known of it, 0 where nothing is.

    >>> known_mean(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[2, -100], [1, 0]])).tolist()
    [1.0, 1.0]
    """
    if classes is None:
        return error.mean(1)
    known = classes >= 0
    return (error * known).sum(1) / known.sum(1).clip(min=1)


def errors(case: Case, make: Any, seeds: Iterable[int] = range(SEEDS)) -> dict[str, Any]:
    """The errors on validation and test of each seed, [seed, example]; a run that fails is wrong everywhere."""
    found: dict[str, list[np.ndarray]] = {"validation": [], "test": []}
    seconds, reads = [], case.reads if make is case.faulty else case.twin_reads
    for seed in seeds:
        recipe = make()
        recipe = recipe.but(seed=recipe.seed + 100 * seed)
        began = perf_counter()
        try:
            run = thalweg.train(recipe)
            model = run.model if run.status.good else None
        except (thalweg.RecipeError, thalweg.DataError):
            model = None
        seconds.append(perf_counter() - began)
        for name, list_ in found.items():
            x, y = split_of(recipe, name, case.opens)
            lost = np.ones(len(y))
            list_.append(lost if model is None else wrong(case.task, outputs(model, x, recipe.batch_size), y, reads))
    kept: dict[str, Any] = {name: np.stack(list_) for name, list_ in found.items()}
    kept["held out"] = np.concatenate([kept["validation"], kept["test"]], 1)
    return kept | {"seconds": float(np.median(seconds))}


def reference_errors(case: Case, recipe: thalweg.Recipe) -> tuple[str, dict[str, np.ndarray]]:
    """The errors of the reference learner that is best on validation and test together, learned from the train part."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, SVR

    numbers = case.task in ("regression", "sequence") and split_of(recipe, "train", case.opens)[1].is_floating_point()
    learners = (
        {"ridge": RidgeCV(), "trees": ExtraTreesRegressor(200, random_state=0), "neighbours": KNeighborsRegressor(5)}
        if numbers
        else {
            "linear": LogisticRegression(max_iter=2000),
            "trees": ExtraTreesClassifier(200, random_state=0),
            "neighbours": KNeighborsClassifier(3),
        }
    )
    seen = case.features or (lambda x: np.asarray(x))
    parts = {name: split_of(recipe, name, case.opens) for name in ("train", "validation", "test")}
    rows = {
        name: (np.asarray(seen(x)).reshape(len(y), -1), y.numpy().reshape(len(y), -1)) for name, (x, y) in parts.items()
    }
    outs = rows["train"][1].shape[1]
    if outs == 1:
        learners["kernel"] = SVR(C=10.0) if numbers else SVC(C=10.0)
    best: tuple[float, str, dict[str, np.ndarray]] | None = None
    for name, learner in learners.items():
        made = make_pipeline(StandardScaler(), learner)
        found: dict[str, list[np.ndarray]] = {"validation": [], "test": []}
        for out in range(outs):
            x, y = rows["train"][0], rows["train"][1][:, out]
            known = np.ones(len(y), bool) if numbers else y >= 0
            if not numbers and len(np.unique(y[known])) < 2:
                for split, list_ in found.items():
                    list_.append((rows[split][1][:, out] != (y[known][0] if known.any() else 0)).astype(float))
                continue
            made.fit(x[known], y[known])
            for split, list_ in found.items():
                x, y = rows[split]
                said = made.predict(x)
                spread = max(float(np.var(y)), 1e-12)
                list_.append((said - y[:, out]) ** 2 / spread if numbers else (said != y[:, out]).astype(float))
        lost = {
            split: known_mean(np.stack(list_, 1), None if numbers else rows[split][1]) for split, list_ in found.items()
        }
        lost["held out"] = np.concatenate([lost["validation"], lost["test"]])
        if best is None or lost["held out"].mean() < best[0]:
            best = float(lost["held out"].mean()), name, lost
    assert best is not None
    return best[1], best[2]


@cache
def of_setup(name: str) -> dict[str, Any]:
    """The errors of a setup, measured once for all cases that are planted in it, and kept in a file."""
    case = CASES[name]
    store = Path(__file__).parent.parent / "runs" / "diagnosis-bench" / "twins" / f"{name}-{case.source}.npz"
    if not store.exists():
        store.parent.mkdir(parents=True, exist_ok=True)
        found = errors(case, case.faulty)
        beside = store.with_suffix(f".{os.getpid()}.npz")
        np.savez(beside, **found)
        beside.replace(store)
    with np.load(store) as kept:
        return {name: kept[name] if kept[name].ndim else float(kept[name]) for name in kept.files}


@cache
def reference_of_setup(name: str) -> tuple[str, dict[str, np.ndarray]]:
    """The errors of the best reference learner on the data of a setup."""
    return reference_errors(CASES[name], CASES[name].faulty())


def interval(difference: np.ndarray) -> tuple[float, float, float]:
    """The mean of differences by example and its 95 % interval, from 1,000 resamples of examples."""
    drawn = np.random.default_rng(0).integers(0, len(difference), (1000, len(difference)))
    low, high = np.quantile(difference[drawn].mean(1), [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)


def certify(name: str) -> dict[str, Any]:
    """What is measured of a case, with the verdict: "planted", "healthy", or why it is neither."""
    torch.set_num_threads(1)
    case = CASES[name]
    healthy = case.cause is Cause.NONE
    if case.repaired is None:
        faulty = twin = of_setup(name)
    else:
        faulty = errors(case, case.faulty, range(2))
        twin = of_setup(case.twin.name) if case.twin else errors(case, case.repaired)
        if case.on != "gap" and harm_of(case, faulty, twin)[0][0] < PLAIN:
            third = errors(case, case.faulty, range(2, SEEDS))
            faulty = {
                split: third[split] if split == "seconds" else np.concatenate([faulty[split], third[split]])
                for split in faulty
            }
    by, reference = (
        reference_of_setup(case.twin.name) if case.twin else reference_errors(case, (case.repaired or case.faulty)())
    )
    on = "held out" if case.on == "gap" else case.on
    above, low, _ = interval(twin[on].mean(0) - reference[on])
    row: dict[str, Any] = {
        "source": case.source, "by": by, "reference": float(reference[on].mean()), "twin": float(twin[on].mean()),
        "twin_seeds": twin[on].mean(1).tolist(), "seconds": faulty["seconds"], "twin_seconds": twin["seconds"],
    }  # fmt: skip
    if low > 0 and above > AS_GOOD:
        return row | {"verdict": f"the twin is worse than {by} by {above:.3f}"}
    if case.repaired is None:
        return row | {"verdict": "healthy", "faulty": row["twin"]}
    harm, seeds_apart = harm_of(case, faulty, twin)
    row |= {"faulty": float(faulty[on].mean()), "faulty_seeds": faulty[on].mean(1).tolist(), "harm": harm}
    if healthy:
        harmless = harm[0] < AS_GOOD or harm[1] <= 0
        above, low, _ = (
            interval(faulty[on].mean(0) - reference[on]) if len(faulty[on][0]) == len(reference[on]) else harm
        )
        return row | {"verdict": "healthy" if harmless and (low <= 0 or above <= AS_GOOD) else "it harms"}
    planted = harm[1] > 0 and harm[0] >= MATERIAL and seeds_apart
    return row | {"verdict": "planted" if planted else "it does not harm enough"}


def harm_of(case: Case, faulty: dict[str, Any], twin: dict[str, Any]) -> tuple[tuple[float, float, float], bool]:
    """What the fault adds to the error, with its interval, and whether its best seed is worse than the worst twin."""
    if case.on == "gap":
        gaps = [float(each["test"].mean() - each["validation"].mean()) for each in (faulty, twin)]
        noise = (
            1.96
            * sum(float(e[s].mean(0).var() / e[s].shape[1]) for e in (faulty, twin) for s in ("test", "validation"))
            ** 0.5
        )
        added = gaps[0] - gaps[1]
        return (added, added - noise, added + noise), True
    ours, theirs = faulty[case.on].mean(0), twin[case.on].mean(0)
    if len(ours) == len(theirs):
        found = interval(ours - theirs)
    else:
        noise = 1.96 * float(ours.var() / len(ours) + theirs.var() / len(theirs)) ** 0.5
        added = float(ours.mean() - theirs.mean())
        found = added, added - noise, added + noise
    return found, bool(faulty[case.on].mean(1).min() > twin[case.on].mean(1).max())


def certified() -> dict[str, dict[str, Any]]:
    """What was measured of each case whose source has not changed since."""
    kept = json.loads(CERTIFIED.read_text()) if CERTIFIED.exists() else {}
    return {name: row for name, row in kept.items() if name in CASES and row["source"] == CASES[name].source}


def main() -> None:
    """Certify what is not, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="part of a name")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="also what is known already")
    asked = parser.parse_args()
    names = [name for name in CASES if asked.only is None or asked.only in name]
    known = certified()
    missing = [name for name in names if asked.again or name not in known]
    missing.sort(key=lambda name: sha256(name.encode()).digest())  # of each cause some, where it is interrupted
    with ProcessPoolExecutor(asked.jobs) as pool:
        for name, row in zip(missing, pool.map(certify, missing), strict=True):
            known[name] = row
            CERTIFIED.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
            print(said(name, row), flush=True)
    print(f"\n{len(known)} measured of {len(CASES)}")
    for verdict in ("planted", "healthy"):
        print(f"  {verdict}: {sum(row['verdict'] == verdict for row in known.values())}")


def said(name: str, row: dict[str, Any]) -> str:
    """A case in a line."""
    harm = f"harm {row['harm'][0]:+.3f} [{row['harm'][1]:+.3f}, {row['harm'][2]:+.3f}]" if "harm" in row else ""
    faulty = f"faulty {row['faulty']:.3f}" if "faulty" in row else ""
    return (
        f"{name:<42} {row['verdict']:<26} reference {row['reference']:.3f} ({row['by']}) twin {row['twin']:.3f} "
        f"{faulty} {harm} {row['seconds']:.1f} s"
    )


if __name__ == "__main__":
    main()
