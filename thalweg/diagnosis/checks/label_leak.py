"""Inputs that are the label: a column alone that says the target all but exactly where all others together do not; and
columns that together do so in train and validation, and of which nothing is left on test.
"""

from typing import Any

import numpy as np

from thalweg.diagnosis.cause import Cause
from thalweg.diagnosis.checks.data_rows import Rows
from thalweg.diagnosis.flaw import Flaw, Raises, Sure
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.measure.shift import kolmogorov_smirnov

ALONE, OTHERS, GONE = 0.97, 0.85, 0.5
"""The skill of the column alone, of the others together at most, and of the column on test where it is gone."""
MOST_FITTED, MOST_COLUMNS, LEAVES, FEWEST = 2000, 256, 64, 100
LEAK = Mechanism.AN_INPUT_IS_THE_LABEL
BETTER, CHANCE, SHOWN = 0.2, 0.01, 5
"""What the others have to tell more on test than inputs of which nothing is left there; the level at which an input
is distributed otherwise there; and how many are named."""


def label_leak(train: Rows, validation: Rows | None, test: Rows | None) -> list[Flaw]:
    """One column says the target, and the others together do not: number, its skill on examples held back.

    Skill is the share of the best constant's error that is gone: of the errors for classes, of the squares for numbers.
    Columns that came from one ("kind=a", "kind=b") are asked together.
    """
    asked = _asked(train)
    if asked is None:
        return []
    x, y, order, fit, ask = asked
    blocks = _blocks(train)
    skill = {
        name: _skill(_tree(train.classes), x[fit][:, at], y[fit], x[ask][:, at], y[ask], train.classes)
        for name, at in blocks.items()
    }
    best = max(skill, key=lambda name: skill[name])
    if skill[best] < ALONE:
        return []
    rest = [j for name, at in blocks.items() if skill[name] < ALONE for j in at]
    alike = sum(value >= ALONE for value in skill.values())
    if not rest or alike > max(1, len(blocks) // 4):
        return []
    others = _skill(_forest(train.classes), x[fit][:, rest], y[fit], x[ask][:, rest], y[ask], train.classes)
    if others > OTHERS:
        return []
    learner = _tree(train.classes).fit(x[order][:, blocks[best]], y[order])
    on = {rows.split: _on(learner, rows, blocks[best]) for rows in (validation, test) if rows is not None}
    gone = "test" in on and on["test"] < GONE
    elsewhere = "".join(f", on {split} {value:.2f}" for split, value in on.items())
    return [
        Flaw(
            Cause.DATA,
            LEAK,
            f"Input {best} alone takes {skill[best]:.1%} of the best constant's error away on train examples held back"
            f"{elsewhere} (1 is perfect); all other inputs together {others:.1%}",
            skill[best],
            "no input alone near 100 % where the others are far from it",
            f"Leave {best} out unless it is known before the label is, when the model is used",
            "a quantity that truly decides the target and is known in use",
            Sure.MEASURED if gone else Sure.LIKELY,
            Raises.TEST if gone else Raises.NONE_SEEN,
            columns=tuple(blocks[best]),
        )
    ]


Asked = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _asked(rows: Rows) -> Asked | None:
    """Inputs, targets, an order of the rows and its halves, to fit and to ask; None for what is no table with targets
    that learners can be asked for.
    """
    if not rows.table or rows.targets is None or len(rows.kept) < FEWEST or rows.targets.ndim > 2:
        return None
    assert rows.x is not None
    if rows.x.shape[1] > MOST_COLUMNS or (rows.targets.ndim == 2 and rows.targets.shape[1] != 1):
        return None
    y = rows.y if rows.classes else rows.y[:, 0]
    keep = (y >= 0) if rows.classes else np.isfinite(y)
    chosen = np.flatnonzero(keep)[:: max(1, len(y) // MOST_FITTED)]
    order = np.random.default_rng(0).permutation(chosen)
    fit, ask = order[: len(order) // 2], order[len(order) // 2 :]
    if len(_blocks(rows)) < 2 or len(fit) < FEWEST // 2 or len(np.unique(y[fit])) < 2:
        return None
    return np.nan_to_num(rows.x), y, order, fit, ask


def gone_at_test(train: Rows, validation: Rows | None, test: Rows | None) -> list[Flaw]:
    """Inputs, distributed otherwise on test, that together tell the target in train and validation, while on test even
    learners fitted to it make nothing of them, and the other inputs still tell: number, their skill in train.
    """
    asked, known = _asked(train), None if test is None else _asked(test)
    if asked is None or known is None or test is None or validation is None or validation.x is None:
        return []
    (x, y, order, fit, ask), blocks = asked, _blocks(train)
    if not known[0].shape[1] == validation.x.shape[1] == x.shape[1]:
        return []
    tested = kolmogorov_smirnov(x[order], known[0])
    moved = {name: at for name, at in blocks.items() if min(tested.p[at]) < CHANCE}
    group, rest = (
        sorted(j for name, at in blocks.items() if (name in moved) is own for j in at) for own in (True, False)
    )
    if not group or not rest:
        return []

    def fitted(columns: list[int], x: np.ndarray, y: np.ndarray, on: np.ndarray, true: np.ndarray) -> float:
        return _skill(_forest(train.classes), x[:, columns], y, on[:, columns], true, train.classes)

    skill = fitted(group, x[fit], y[fit], x[ask], y[ask])
    if skill < ALONE:
        return []
    held = _on(_forest(train.classes).fit(x[order][:, group], y[order]), validation, group)
    there, theirs, _, first, second = known
    left = fitted(group, there[first], theirs[first], there[second], theirs[second])
    on_test, others = (fitted(columns, x[order], y[order], there, theirs) for columns in (group, rest))
    if held < ALONE or max(left, on_test) > GONE or others < max(left, on_test) + BETTER:
        return []
    named = list(moved)
    which = ", ".join(named[:SHOWN]) + (f" and {len(named) - SHOWN} more" if len(named) > SHOWN else "")
    return [
        Flaw(
            Cause.DATA,
            Mechanism.INPUTS_THAT_TELL_THE_TARGET_BUT_NOT_ON_TEST,
            f"Inputs {which} together take {skill:.1%} of the best constant's error away on train examples held back "
            f"and {held:.1%} on validation, but {max(on_test, 0.0):.1%} on test, where learners fitted to test itself "
            f"make no more of them ({max(left, 0.0):.1%}); all other inputs take {others:.1%} away on test",
            skill,
            "inputs that tell as much on test",
            f"Leave {which} out: a model leans on them, and they will not be there when it is used",
            "test data in which these inputs are filled in again",
            Sure.MEASURED,
            Raises.TEST,
            columns=tuple(group),
        )
    ]


def _blocks(rows: Rows) -> dict[str, list[int]]:
    """The columns of each input of the table, by its name."""
    assert rows.x is not None
    blocks: dict[str, list[int]] = {}
    for j in range(rows.x.shape[1]):
        name = rows.names[j].partition("=")[0].removesuffix(" (missing)") if rows.names else ""
        blocks.setdefault(f"'{name}'" if rows.names else rows.column(j), []).append(j)
    return blocks


def _tree(classes: bool) -> Any:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeClassifier if classes else DecisionTreeRegressor
    return kind(max_leaf_nodes=LEAVES, min_samples_leaf=2, random_state=0)


def _forest(classes: bool) -> Any:
    """Trees and a linear learner together: a leak is said only where neither needs the column."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, VotingClassifier, VotingRegressor
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    trees = (ExtraTreesClassifier if classes else ExtraTreesRegressor)(60, min_samples_leaf=2, random_state=0, n_jobs=1)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=200) if classes else RidgeCV())
    both = [("trees", trees), ("linear", linear)]
    return VotingClassifier(both, voting="soft") if classes else VotingRegressor(both)


def _skill(learner: Any, x: np.ndarray, y: np.ndarray, asked: np.ndarray, true: np.ndarray, classes: bool) -> float:
    """The share of the best constant's error that is gone, averaged over classes where targets are."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a reference need not be at its best
        return _gone(learner.fit(x, y).predict(asked), true, classes)


def _gone(said: np.ndarray, true: np.ndarray, classes: bool) -> float:
    if not classes:
        return float(1 - ((said - true) ** 2).mean() / max(((true - true.mean()) ** 2).mean(), 1e-300))
    names = np.unique(true)
    if len(names) < 2:
        return 0.0
    recall = np.mean([(said[true == name] == name).mean() for name in names])
    return float((recall - 1 / len(names)) / (1 - 1 / len(names)))


def _on(learner: Any, rows: Rows, columns: list[int]) -> float:
    if rows.x is None or rows.targets is None or rows.x.shape[1] <= max(columns):
        return float("nan")
    y = rows.y if rows.classes else rows.y[:, 0]
    return _gone(learner.predict(np.nan_to_num(rows.x[:, columns])), y, rows.classes)
