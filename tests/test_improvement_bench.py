"""The benchmark of improve: its pooling is right, its sample stays, and it judges by what nothing has read."""

import json
import sys
from dataclasses import replace
from functools import partial
from importlib import import_module
from math import inf, sqrt
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg
from thalweg.core.convert import Batching, as_source
from thalweg.diagnosis import Cause, Cost, Score
from thalweg.diagnosis.laboratory import halves
from thalweg.remedy.proof import Proof

sys.path.append(str(Path(__file__).parent.parent / "bench"))
bench: ModuleType = import_module("improvement")
real: ModuleType = import_module("improvement_real")
cases: ModuleType = import_module("diagnosis_cases")
SGD = torch.optim.SGD


def remedy(before: list[float], after: list[float], random: list[float] | None = None, **more: Any) -> dict[str, Any]:
    """A row of an adopted remedy, with natural errors a tenth of its losses and no noise of examples."""
    losses = {"before": before, "after": after, "random": before if random is None else random}
    row: dict[str, Any] = {
        **losses,
        "errors": {name: [loss / 10 for loss in each] for name, each in losses.items()},
        "examples": {"after": 0.0, "random": 0.0},
        "proved": [[number, *pair] for number, pair in enumerate(zip(before, after, strict=True))],
        "remedy": "a remedy",
        "chance": "another seed",
        "cause": "DATA",
    }
    return row | more


def number(row: dict[str, Any]) -> float:
    value: float = row["x"]
    return value


def test_a_loss_that_gets_lower_counts_as_much_as_one_that_gets_higher() -> None:
    pairs = [(0.5, 0.25), (3.0, 0.1), (1.0, inf), (-1.0, -2.0), (1e-9, 7.0)]
    for before, after in pairs:
        assert bench.relative(before, after) == -bench.relative(after, before)
        assert -1 <= bench.relative(before, after) <= 1
    assert bench.relative(4.0, 1.0) == 0.75
    assert bench.relative(-1.0, -2.0) == 0.5  # the likelihood of a density: lower is better below 0 too
    assert bench.relative(0.0, 0.0) == 0.0


def test_the_pooled_mean_is_over_remedies_and_its_interval_over_cases() -> None:
    by_case = [[{"x": 1.0}, {"x": 0.0}], [{"x": 0.5}], [], [{"x": -0.2}]]
    value, low, high = bench.pooled(by_case, number)
    assert value == pytest.approx((1.0 + 0.0 + 0.5 - 0.2) / 4)
    random = np.random.default_rng(1)
    means = []
    for _ in range(4000):
        drawn = [by_case[place] for place in random.choice([0, 1, 3], 3)]
        means.append(np.mean([row["x"] for rows in drawn for row in rows]))
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.03)


def test_remedies_of_one_case_are_no_more_than_one_case() -> None:
    values = np.random.default_rng(0).normal(size=12)
    alone = bench.pooled([[{"x": value}] for value in values], number)
    together = bench.pooled([[{"x": value}] * 5 for value in values], number)
    assert together == pytest.approx(alone)


def test_what_is_not_known_is_left_out_of_a_pool() -> None:
    by_case = [[{"x": None}], [{"x": 0.5}, {"x": None}]]
    assert bench.pooled(by_case, number) == (0.5, 0.5, 0.5)
    assert all(np.isnan(bench.pooled([[]], number)))


def test_the_interval_of_a_remedy_is_students_over_seeds_with_the_noise_of_examples() -> None:
    after = [0.5, 0.6, 0.7, 0.4, 0.3]
    row = remedy([1.0] * 5, after)
    width = 2.776445 * np.std(after, ddof=1) / sqrt(5)
    assert bench.interval(row) == pytest.approx((0.5, 0.5 - width, 0.5 + width), rel=1e-5)
    row["examples"]["after"] = 0.3
    wider = 2.776445 * sqrt(np.var(after, ddof=1) / 5 + 0.09)
    assert bench.interval(row)[2] == pytest.approx(0.5 + wider, rel=1e-5)
    assert bench.interval(row, examples=False)[2] == pytest.approx(0.5 + width, rel=1e-5)


def test_the_noise_of_examples() -> None:
    before, after = [np.full(4, 2.0)] * 2, [np.array([1.0, 1.0, 2.0, 2.0]), np.array([1.0, 1.0, 0.0, 0.0])]
    assert bench.noise_of_examples(before, after) == 0.0  # on average over seeds each example gains as much
    assert bench.noise_of_examples(before, after[:1]) == pytest.approx(np.std([1, 1, 0, 0], ddof=1) / sqrt(4) / 2)
    assert bench.noise_of_examples(before, [None]) == 0.0


@pytest.fixture
def rows() -> dict[str, Any]:
    """Three planted cases, of which one is improved for the worse, one fails, and a healthy one that stays."""
    known = {"times": 30.0, "computed": 10.0}
    helps = remedy([1.0] * 5, [0.5, 0.5, 0.5, 0.5, 0.51], [1.0] * 5)
    harms = remedy([1.0] * 5, [1.25] * 5, [0.8] * 5, cause="WIRING")
    return {
        "labels-wrong-in-forty-percent": {"adopted": [helps], **known},
        "test-digits-turned": {"adopted": [helps, harms], **known},
        "one-layer-too-few": {"error": "ValueError: no"},
        "digits-mlp": {"adopted": [], **known},
    }


def test_the_summary_counts(rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cases.CASES, "one-layer-too-few", cases.CASES["test-digits-turned"])
    told = bench.summary(rows)
    assert told["planted, something adopted"].startswith("2 of 3")
    assert told["planted, left as it is"].startswith("0 of 3")
    assert told["healthy, something adopted"].startswith("0 of 1")
    assert told["errors"].startswith("1 of 4")
    assert told["adopted remedies"] == "3 in 2 recipes"
    assert told["worse on unseen data"].startswith("1 of 3")
    assert told["better on unseen data"].startswith("2 of 3")
    assert told["better than its random change"].startswith("2 of 3")
    assert float(told["on unseen data, share of the loss"].split()[0]) == pytest.approx((0.498 * 2 - 0.2) / 3, abs=1e-3)
    assert float(told["random changes, the same"].split()[0]) == pytest.approx(0.2 / 3, abs=1e-3)
    assert float(told["on unseen data, natural error less"].split()[0]) == pytest.approx(
        (0.0498 * 2 - 0.025) / 3, abs=1e-3
    )


def test_a_report_names_no_case(rows: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    rows.pop("one-layer-too-few")
    bench.show_cases(rows, names=False)
    quiet = capsys.readouterr().out
    bench.show_cases(rows, names=True)
    assert "WORSE" in quiet
    assert not any(name in quiet for name in rows)
    assert "test-digits-turned: a remedy" in capsys.readouterr().out


def test_the_sample_is_the_beginning_of_a_larger_one_and_of_its_half(monkeypatch: pytest.MonkeyPatch) -> None:
    known = json.loads((Path(bench.__file__).with_name("diagnosis_certified.json")).read_text())
    monkeypatch.setattr(bench, "certified", lambda: known)
    small, large = (bench.sample("develop", count, 2, 2.0) for count in (3, 6))
    planted = [[name for name in names if cases.CASES[name].cause is not Cause.NONE] for names in (small, large)]
    assert [len(each) for each in planted] == [3, 6]
    assert set(small) <= set(large)
    assert len(set(large)) == len(large) == 8
    assert len({cases.CASES[name].cause for name in planted[0]}) == 3
    assert {cases.half(name) for name in large} == {"develop"}


def test_the_unread_half_is_that_which_improve_leaves_unread() -> None:
    x = torch.arange(131.0)[:, None]
    source: Any = as_source((x, x), "test", Batching(32, None))
    batches = halves(source)[1].batches(0, 0, None)
    assert real.unread(131).tolist() == torch.cat([batch[0] for batch in batches])[:, 0].tolist()


def slow() -> thalweg.Recipe:
    """Two classes on either side of a line, trained at a rate far too low."""
    x = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = (x.sum(1) > 0).long()
    parts = {"train": slice(0, 150), "validation": slice(150, 300), "test": slice(300, 500)}
    return thalweg.Recipe(
        data=thalweg.Splits(**{name: (x[part], y[part]) for name, part in parts.items()}),
        model=lambda: nn.Linear(3, 2),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.SGD, lr=1e-5),
        epochs=5,
    )


def test_a_remedy_is_judged_anew_on_fresh_seeds() -> None:
    case = replace(cases.CASES["digits-mlp"], name="slow", cause=Cause.OPTIMIZATION, faulty=slow, repaired=slow)
    usual = thalweg.Remedy("a usual rate", Cause.OPTIMIZATION, lambda one: one.but(optimizer=partial(SGD, lr=0.3)))
    proof = Proof(usual, "validation loss", ((1000, 0.7, 0.5),), Score(0.2, 0.1, 0.3), 1 / 32, Cost())
    row = bench.worth(case, slow(), proof)
    assert json.loads(json.dumps(row)) == row
    assert [len(row[each]) for each in ("before", "after", "random")] == [bench.SEEDS] * 3
    x, y = (part[torch.from_numpy(real.unread(200))] for part in slow().data.test)
    seed = slow().seed + bench.FAR
    said = thalweg.train(usual(slow()).but(seed=seed), device="cpu").model(x).detach()
    assert row["after"][0] == pytest.approx(nn.functional.cross_entropy(said, y).item(), rel=1e-5)
    assert row["errors"]["after"][0] == pytest.approx((said.argmax(1) != y).double().mean().item())
    assert bench.interval(row)[1] > 0
    assert bench.fewer_errors(row) > 0.1


def test_what_a_case_raises_is_an_answer_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> thalweg.Recipe:
        raise ValueError("no such data")

    monkeypatch.setitem(cases.CASES, "broken", replace(cases.CASES["digits-mlp"], faulty=broken))
    _, row = bench.limited("cases", "broken", 60.0, 100.0)
    assert row["error"] == "ValueError: no such data"
    assert "in broken" in row["traceback"]


def test_real_data_are_named_by_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="THALWEG_DATA"):
        real.phoneme()


def test_the_search_costs_what_it_may_and_finds_the_better_rate() -> None:
    pytest.importorskip("optuna")
    model = partial(thalweg.nn.mlp, 3, 2)
    recipe = slow().but(model=partial(model, width=4, depth=1))
    found = real.searched(real.Subject(recipe, model, (4, 8), (1, 2)), [3.0, 12.0])
    assert found[0]["times"] >= 3
    assert found[1]["times"] >= 12
    assert found[0]["trials"] < found[1]["trials"]
    assert found[1]["chosen"]["lr"] > 1e-4
    good = {name: real.right(one, recipe).mean() for name, one in (("own", recipe), ("found", found[1]["recipe"]))}
    assert good["found"] > good["own"]


def test_the_score_of_numbers_is_r2(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    y = x[:, :1] + 0.5
    data = thalweg.Splits(train=(x[:100], y[:100]), validation=(x[100:200], y[100:200]), test=(x[200:], y[200:]))
    adam = partial(torch.optim.Adam, lr=0.05)
    recipe = thalweg.Recipe(data=data, model=lambda: nn.Linear(2, 1), objective=nn.MSELoss(), optimizer=adam, epochs=40)
    good = real.right(recipe, recipe)
    assert good.shape == (100,)
    assert good.mean() > 0.99
    untrained = recipe.but(optimizer=partial(torch.optim.SGD, lr=1e-9), epochs=1)
    assert real.right(untrained, recipe).mean() < 0.9
