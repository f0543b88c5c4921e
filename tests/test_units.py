"""A mismatch in the units of the data: what explains most comes first, what explains next to nothing is left out."""

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import nn

import thalweg
from thalweg import Cause, Recipe, Splits
from thalweg.data import load_table
from thalweg.data.table_source import TableSource
from thalweg.diagnosis.score import Score
from thalweg.diagnosis.shift.explanation import Classes, MovedColumn, Shift
from thalweg.diagnosis.shift.families import family


def people(n: int, seed: int, factor: float = 1.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    income, age = random.lognormal(10, 0.4, n), random.uniform(18, 90, n)
    says = np.log(income / 22000) * 3 + (age - 50) / 15 + random.normal(0, 0.3, n) > 0
    return pd.DataFrame({"age": age, "income": factor * income, "buys": np.where(says, "yes", "no")})


def splits(factor: float) -> Splits:
    held = load_table(people(600, 0), target="buys", test_share=0.0)
    test = TableSource.of(people(200, 1, factor), held.train.encoding)
    return Splits(held.train, held.validation, test)


def test_a_column_in_another_unit_is_said_in_its_own_units() -> None:
    data = splits(7.4)
    finding = thalweg.diagnose(
        Recipe(
            data=data,
            model=lambda: nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2)),
            objective=nn.CrossEntropyLoss(),
            optimizer=partial(torch.optim.Adam, lr=1e-2),
            epochs=20,
        ),
        budget=1,
    )
    assert finding.cause is Cause.MISMATCH
    assert finding.shift is not None
    (income,) = finding.shift.columns
    assert income.name == "'income'"
    own, test = (float(each.rows["income"].mean()) for each in (data.validation, data.test))
    assert abs(income.means[0] - own) < 0.01 * own
    assert abs(income.means[1] - test) < 0.2 * test  # a half of them is read
    assert "'income'" in finding.mechanism
    assert finding.shift.undone is not None
    assert re.fullmatch(
        r"'income' (7\.\d+ times as large|of another mean \(1\d\d,\d{3} for .*)", finding.shift.undone.name
    )


def test_a_factor_in_the_units_of_the_data_is_one_change_of_a_standardized_column() -> None:
    random = torch.Generator().manual_seed(0)
    raw = 1000 + 200 * torch.randn(300, 2, generator=random, dtype=torch.float64)
    units = [(float(column.mean()), float(column.std())) for column in raw.T]
    means, scales = (torch.tensor(each, dtype=torch.float64) for each in zip(*units, strict=True))
    changed = raw.clone()
    changed[:, 0] *= 5
    here, there = ((each - means) / scales for each in (raw, changed))
    first = family(here, there, ["a", "b"], units)[0]
    assert first.name == "'a' 5 times as large"
    assert torch.allclose(first.undo(there), here, atol=1e-8)


def classes(share: float) -> Classes:
    return Classes(
        (0, 1), (0.6, 0.4), (0.4, 0.6), (0.7, 1.5), None, 1e-6, Score(1.0), share, alone=False, called=("'no'", "'yes'")
    )


def test_what_explains_next_to_nothing_does_not_lead() -> None:
    column = MovedColumn("'income'", 0.9, 1e-9, (52000.0, 385000.0), (3000.0, 4000.0))
    shift = Shift(classes=classes(0.01), columns=(column,), counts=(1, 4))
    assert shift.sentence == "1 of 4 inputs are distributed otherwise ('income' mean 52,000 to 385,000)"
    much = replace(shift, classes=classes(0.4))
    assert much.sentence.startswith("the shares of the classes moved ('no': 60% to 40%, 'yes': 40% to 60%")
    assert much.beside == ["1 of 4 inputs are distributed otherwise ('income' mean 52,000 to 385,000)"]
