"""An improvement that was interrupted or killed goes on, and ends as one that nothing has interrupted."""

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from processes import ended, in_child
from torch import nn

import thalweg
from thalweg import Recipe, Splits
from thalweg.cli import main
from thalweg.cli.begun import begun_in
from thalweg.core.errors import RunError, WriteError
from thalweg.nn import mlp
from thalweg.remedy import Improvement
from thalweg.training import many
from thalweg.training.kept_runs import keeping

RANDOM = np.random.default_rng(0)
X = torch.from_numpy(RANDOM.normal(size=(260, 3))).float()
Y = X.sum(1, keepdim=True) + 0.1 * torch.from_numpy(RANDOM.normal(size=(260, 1))).float()


def slow(**changes: Any) -> Recipe:
    """A rate that is far too low."""
    made = Recipe(
        data=Splits(train=(X[:60], Y[:60]), validation=(X[60:140], Y[60:140]), test=(X[140:], Y[140:])),
        model=partial(mlp, 3, 1, width=8),
        objective=nn.MSELoss(),
        optimizer=partial(torch.optim.Adam, lr=1e-5),
        epochs=4,
    )
    return made.but(**changes)


def improved(folder: Path | None = None, progress: Any = None) -> Improvement:
    return thalweg.improve(slow(), rounds=1, budget=60, resume=folder, progress=progress, device="cpu")


def told(result: Improvement) -> Any:
    """All that an improvement says, but its time."""
    rounds = []
    for turn in result.diary:
        found = turn.finding.to_json()
        arms = [(arm.name, arm.score, arm.validation) for one in turn.finding.experiments for arm in one.arms]
        proofs = [(p.remedy.name, p.pairs, p.p, p.random and p.random.pairs, p.cost.runs) for p in turn.proofs]
        race = turn.race and turn.race.sentence
        rounds.append((found["cause"], found["sentence"], found["losses"], arms, proofs, race, turn.finding.cost.runs))
    weights = {name: weight.tolist() for name, weight in result.run.model.state_dict().items()}
    return rounds, result.before, result.after, result.ended, result.judged_on, result.validation_used, weights


@pytest.fixture(scope="module")
def whole() -> tuple[Any, list[str]]:
    """What an improvement says that nothing interrupts, and its stages."""
    stages: list[str] = []
    return told(improved(progress=lambda stage: stages.append(stage.name))), stages


def interrupting(at: int, how: Callable[[], None]) -> Callable[[Any], None]:
    count = 0

    def progress(stage: Any) -> None:
        nonlocal count
        count += 1
        if count == at:
            how()

    return progress


def raised() -> None:
    raise KeyboardInterrupt


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many recipes are trained, and not found, from here on."""
    counted: list[int] = []
    own = many.found_or_missing

    def counting(recipes: Any, device: Any) -> Any:
        found = own(recipes, device)
        counted.append(len(found[1]))
        return found

    monkeypatch.setattr(many, "found_or_missing", counting)
    return counted


@pytest.mark.battery  # each time one that was killed goes on, and one that the command line interrupted
@pytest.mark.parametrize("share", [0.4, 0.75])
def test_an_improvement_that_was_interrupted_goes_on(
    share: float, whole: tuple[Any, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says, stages = whole
    first = trainings(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        improved(tmp_path, interrupting(int(share * len(stages)), raised))
    done = sum(first)
    assert done > 0
    first.clear()
    assert told(improved(tmp_path)) == says
    again = sum(first)
    first.clear()
    assert told(improved(tmp_path)) == says
    assert sum(first) == 0
    assert again + done == says[5] + 1  # what chose, and the recipe as it came in; the closing run has its own way


@pytest.mark.battery
def test_an_improvement_that_was_killed_goes_on(whole: tuple[Any, list[str]], tmp_path: Path) -> None:
    says, stages = whole
    for share in (0.5, 0.9):
        dying = interrupting(int(share * len(stages)), killed)
        assert ended(in_child(partial(improved, tmp_path, dying))) == -signal.SIGKILL
    assert told(improved(tmp_path)) == says


@pytest.mark.battery
@pytest.mark.parametrize("how", [raised, killed], ids=["interrupted", "killed"])
def test_an_improvement_goes_on_from_any_stage(
    how: Callable[[], None], whole: tuple[Any, list[str]], tmp_path: Path
) -> None:
    says, stages = whole
    for at in range(1, len(stages) + 1):
        folder = tmp_path / str(at)
        died = ended(in_child(partial(improved, folder, interrupting(at, how))))
        assert died == (-signal.SIGKILL if how is killed else 1)
        assert told(improved(folder)) == says, stages[at - 1]


def test_another_recipe_finds_none_of_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = trainings(monkeypatch)
    for chosen in (slow(), slow(epochs=5), slow(optimizer=partial(torch.optim.Adam, lr=2e-5)), slow(), slow()):
        with keeping(tmp_path):
            thalweg.train_many([chosen, chosen.but(seed=1)], device="cpu")
    other = slow().but(data=Splits(train=(X[:60] + 1e-6, Y[:60]), validation=(X[60:140], Y[60:140])))
    with keeping(tmp_path):
        thalweg.train_many([other, other.but(seed=1)], device="cpu")
    assert counted == [2, 2, 2, 0, 0, 2]


@pytest.mark.parametrize("spoiled", ["-best.safetensors", ".json"])
def test_a_kept_run_that_is_damaged_is_trained_again(
    spoiled: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with keeping(tmp_path):
        (run,) = thalweg.train_many([slow()], device="cpu")
    (file,) = tmp_path.glob(f"*{spoiled}")
    file.write_bytes(b"{" + file.read_bytes()[1:40])
    with keeping(tmp_path):
        (again,) = thalweg.train_many([slow()], device="cpu")
    assert "A run that was kept cannot be read, and is trained again" in caplog.text
    assert [row["train_loss"] for row in again.history] == [row["train_loss"] for row in run.history]


class Counting(nn.Module):
    """A model that keeps more than weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(3, 1), 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return self.layer(x)


def test_what_could_not_be_read_back_as_it_is_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Foreign:
        def __call__(self, output: Any, target: Any) -> Any:
            return nn.functional.mse_loss(output, target)

    counted = trainings(monkeypatch)
    for chosen in (slow(model=Counting), slow(model=Counting), slow(objective=Foreign()), slow(objective=Foreign())):
        with keeping(tmp_path):
            thalweg.train_many([chosen], device="cpu")
    assert counted == [1, 1, 1, 1]
    assert "What is trained here is not kept: objective cannot be compared" in caplog.text


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.write_text("a file")
    with pytest.raises(RunError, match="closed is a file, not a folder"):
        thalweg.improve(slow(), resume=closed, progress=lambda stage: pytest.fail(stage.name))


def test_a_disk_that_is_full_loses_what_is_kept_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise WriteError(f"{path.name[-5:]} cannot be written: No space left on device.")

    with monkeypatch.context() as patched, keeping(tmp_path):
        patched.setattr("thalweg.training.kept_runs.write_own", full)
        (run,) = thalweg.train_many([slow()], device="cpu")
    assert run.status.good
    assert "A run is not kept, and is trained again after an interrupt" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_link_to_another_disk_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "kept"
    link.symlink_to(tmp_path / "disk")
    with keeping(link):
        thalweg.train_many([slow()], device="cpu")
    assert link.is_symlink()
    assert len(list((tmp_path / "disk").iterdir())) == 3


def test_runs_of_another_torch_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = trainings(monkeypatch)
    for version in ("1.0", "2.0", "1.0"):
        monkeypatch.setattr("torch.__version__", version)
        with keeping(tmp_path):
            thalweg.train_many([slow()], device="cpu")
    assert counted == [1, 1, 0]


def test_settings_that_were_changed_between_find_none_of_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = trainings(monkeypatch)
    settings = SimpleNamespace(width=8, dropout=0.0)
    for dropout in (0.0, 0.5, 0.0):
        settings.dropout = dropout
        with keeping(tmp_path):
            thalweg.train_many(
                [slow(model=lambda: mlp(3, 1, width=settings.width, dropout=settings.dropout))], device="cpu"
            )
    assert counted == [1, 1, 0]


def test_a_damaged_folder_is_no_improvement_that_began(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    assert begun_in(tmp_path) is None


SLOW = ("--set", "epochs=4", "--set", "optimizer.lr=1e-5", "--rounds", "1", "--budget", "40", "--device", "cpu")


@pytest.mark.parametrize("again", ["resume", pytest.param("improve", marks=pytest.mark.battery)])
@pytest.mark.battery
def test_the_command_goes_on_with_an_improvement(
    again: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    improve = sys.modules["thalweg.remedy.improve"]
    own = improve.train

    def interrupted(*given: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(improve, "train", interrupted)
    assert main(["improve", "iris", *SLOW, "--quiet"]) == 130
    out, _ = capsys.readouterr()
    (folder,) = Path("runs").iterdir()
    assert f"Go on with it: thalweg resume {folder}" in out.replace("\n", " ")
    before = json.loads((folder / "diary.json").read_text())["rounds"]
    monkeypatch.setattr(improve, "train", own)
    counted = trainings(monkeypatch)
    assert main(["improve", "last", "--quiet", "--budget", "41", "--rounds", "1", "--seed", "3"]) == 2
    assert "--budget, --seed cannot change it" in capsys.readouterr().err.replace("\n", " ")
    assert main([again, "last", "--quiet", "--device", "cpu"]) == 0
    assert sum(counted) == 0
    assert [path.name for path in Path("runs").iterdir()] == [folder.name]
    after = json.loads((folder / "diary.json").read_text())
    assert after["rounds"][0]["tried"] == before[0]["tried"]
    assert after["validation_used"] > 0
    assert json.loads((folder / "run.json").read_text())["status"] == "FINISHED"
    assert not (folder / "kept-runs").exists()
    assert main(["resume", "last", "--quiet"]) == 2
    assert "which is not resumed" in capsys.readouterr().err


def test_an_improvement_goes_on_where_it_began_and_not_with_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{i},{i % 7},{2 * i + i % 7}" for i in range(60)]
    Path("rows.csv").write_text("\n".join(["a,b,c", *rows]) + "\n")

    def interrupted(*given: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["thalweg.remedy.circle"], "diagnose", interrupted)
        assert main(["improve", "rows.csv", "--target", "c", "--set", "epochs=1", "--quiet"]) == 130
    place, places = Path.cwd(), list[Path]()
    (folder,) = Path("runs").absolute().iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(
            sys.modules["thalweg.remedy.circle"], "diagnose", lambda *a, **k: interrupted(places.append(Path.cwd()))
        )
        patched.chdir(tmp_path.parent)
        assert main(["resume", str(folder), "--quiet"]) == 130
    assert places == [place]
    assert Path.cwd() == place
    Path("rows.csv").write_text("\n".join(["a,b,c", *rows[::-1]]) + "\n")
    capsys.readouterr()
    assert main(["resume", "last", "--quiet"]) == 2
    assert "'rows.csv' is not what the improvement began with" in capsys.readouterr().err
