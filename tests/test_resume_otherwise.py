"""Resumes with another recipe, on another machine, or of what is no run: refused, insisted on, or said."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import N, bits, broken_off, examples, recipe
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

import thalweg
from thalweg import Outcome, RunError, Splits
from thalweg.core import threads


def halves(step: int, steps: int | None) -> float:
    return 0.5 ** (step / 10)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 22}, "batch_size: 11 -> 22"),
        ({"optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9)}, "optimizer: SGD(lr=0.05, momentum=0.9) -> SGD"),
        ({"data": Splits(train=examples(67), validation=examples(20))}, "data: Splits(train=((66, 5) float32"),
        ({"seed": 1}, "seed: 0 -> 1"),
    ],
)
def test_another_recipe_is_refused_with_what_differs(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path, 9)
    before = (path / "run.json").read_bytes(), (path / "metrics.jsonl").read_bytes()
    with pytest.raises(RunError) as caught:
        thalweg.resume(path, recipe(**changes))
    assert str(caught.value).startswith("The run was trained otherwise: ")
    assert says in str(caught.value)
    assert "force=True" in str(caught.value)
    assert ((path / "run.json").read_bytes(), (path / "metrics.jsonl").read_bytes()) == before
    forced = thalweg.resume(path, recipe(**changes), force=True)
    assert forced.status is Outcome.FINISHED
    assert any(says in said for said in forced.notices)


SGD, Adam = partial(torch.optim.SGD, momentum=0.9), torch.optim.Adam


@pytest.mark.parametrize(
    ("schedule", "factor"),
    [(None, 1.0), (partial(StepLR, step_size=1, gamma=0.5), 0.5), (halves, 0.5**0.9)],
)
def test_a_rate_that_is_insisted_on_is_used(schedule: Any, factor: float, tmp_path: Path) -> None:
    path = broken_off(recipe(optimizer=partial(SGD, lr=0.05), schedule=schedule), tmp_path, 9)
    other = recipe(optimizer=partial(SGD, lr=0.001, weight_decay=0.1), schedule=schedule)
    run = thalweg.resume(path, other, force=True)
    rates = [row["learning_rate"] for row in run.history]
    assert rates[1] == pytest.approx(0.001 * (factor if schedule is not halves else halves(11, None)))
    assert run.status is Outcome.FINISHED
    written = json.loads((path / "recipe.json").read_text())
    assert "0.001" in written["fields"]["optimizer"]


def test_another_optimizer_that_is_insisted_on_begins_anew(tmp_path: Path) -> None:
    path = broken_off(recipe(optimizer=partial(Adam, lr=0.01)), tmp_path, 9)
    run = thalweg.resume(path, recipe(optimizer=partial(SGD, lr=0.05)), force=True)
    assert run.status is Outcome.FINISHED
    assert "The optimizer is now SGD, which begins anew." in run.notices


def test_another_schedule_that_is_insisted_on_begins_anew(tmp_path: Path) -> None:
    path = broken_off(recipe(schedule=partial(StepLR, step_size=1, gamma=0.1)), tmp_path, 9)
    run = thalweg.resume(path, recipe(schedule=partial(StepLR, step_size=2, gamma=0.5)), force=True)
    assert [row["learning_rate"] for row in run.history] == pytest.approx([0.05, 0.05, 0.05, 0.025])
    assert "The schedule begins anew: it is another one than the run began with." in run.notices


def test_an_optimizer_that_cannot_be_compared_and_does_not_fit_is_an_error(tmp_path: Path) -> None:
    class Opaque:
        def __init__(self, made: Any) -> None:
            self.made = made

        def __call__(self, parameters: Any) -> Any:
            return self.made(parameters, lr=0.01)

    path = broken_off(recipe(optimizer=Opaque(Adam)), tmp_path, 9)
    with pytest.raises(RunError, match="The optimizer SGD cannot go on from what the checkpoint holds of Adam"):
        thalweg.resume(path, recipe(optimizer=Opaque(SGD)))


def test_a_model_of_another_shape_is_refused_though_one_insists(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path, 9)
    with pytest.raises(RunError, match="The weights of the checkpoint do not fit the model: .* Resume with the model"):
        thalweg.resume(path, recipe(model=lambda: nn.Linear(5, 2)), force=True)


def test_what_changes_while_a_run_goes_on_is_no_other_recipe(tmp_path: Path) -> None:
    """A metric that counts its calls, and a loop's own list, are the recipe's as they were when it began."""
    calls: list[int] = []

    def counted(output: Tensor, target: Tensor) -> Tensor:
        calls.append(1)
        return (output.argmax(1) == target).float()

    path = broken_off(recipe(metrics={"accuracy": counted}), tmp_path, 13)
    calls.clear()
    assert thalweg.resume(path, recipe(metrics={"accuracy": counted})).status is Outcome.FINISHED


def test_fewer_epochs_than_are_done_are_refused_though_one_insists(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path, 15)
    with pytest.raises(
        RunError, match="The run is in epoch 3 already, and the recipe asks for 2: there is no way back"
    ):
        thalweg.resume(path, recipe(epochs=2), force=True)


def test_another_batch_size_that_is_insisted_on_is_no_memory_of_the_data(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path, 9)
    run = thalweg.resume(path, recipe(batch_size=22), force=True)
    assert not [said for said in run.notices if "changes while it trains" in said]


def test_a_source_that_may_draw_for_itself_is_said_within_an_epoch(tmp_path: Path) -> None:
    class Own:
        def __len__(self) -> int:
            return N

        def batches(self, epoch: int, start: int, generator: Any) -> Any:
            x, y = examples()
            for ids in torch.arange(N).split(11)[start:]:
                yield x[ids] + 0.1 * torch.randn(1), y[ids]

    own = recipe(data=Splits(train=Own()))
    run = thalweg.resume(broken_off(own, tmp_path, 9), own)
    assert any(
        said.startswith("The train split is a source of your own, which goes on with batch 4") for said in run.notices
    )


def test_a_run_that_has_lost_its_recipe_says_so(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path, 9)
    (path / "recipe.json").unlink()
    with pytest.raises(RunError, match="has lost its recipe.json. Put back a copy of it, or give the recipe"):
        thalweg.resume(path)
    assert bits(thalweg.resume(path, recipe())) == bits(thalweg.train(recipe()))


def test_a_run_without_its_manifests_says_that_it_begins_anew(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path, 15)
    for manifest in (path / "checkpoints").glob("*.json"):
        manifest.unlink()
    run = thalweg.resume(path, recipe())
    assert "There is no checkpoint to go on from, so the run begins anew: 2 epochs of it are lost." in run.notices
    assert bits(run) == bits(thalweg.train(recipe()))


def test_a_damaged_run_json_does_not_make_checkpoints_useless(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path, 9)
    (path / "run.json").write_text("{")
    run = thalweg.resume(path, recipe())
    assert bits(run) == bits(thalweg.train(recipe()))
    assert json.loads((path / "run.json").read_text())["status"] == "FINISHED"


def test_data_of_the_same_shape_and_other_numbers_are_other_data(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path, 9)
    x, y = examples()
    with pytest.raises(RunError, match="data: other content"):
        thalweg.resume(path, recipe(data=Splits(train=(x + 1e-3, y), validation=examples(20))))


def test_another_number_of_threads_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a network so large that it is given all threads."""
    monkeypatch.setattr(threads, "SMALL", 0)
    path = broken_off(recipe(), tmp_path, 9)
    own = torch.get_num_threads()
    torch.set_num_threads(own + 1)
    try:
        again = thalweg.resume(path, recipe())
    finally:
        torch.set_num_threads(own)
    assert any(f"not bit-exact: it goes on with threads {own} -> {own + 1}" in said for said in again.notices)


def test_a_run_that_has_ended_and_a_folder_that_is_none_are_refused(tmp_path: Path) -> None:
    run = thalweg.train(recipe(epochs=1), out=tmp_path)
    with pytest.raises(RunError, match="has ended as FINISHED: there is nothing to go on with"):
        thalweg.resume(str(run.path), recipe(epochs=1))
    with pytest.raises(RunError, match="is no run folder"):
        thalweg.resume(tmp_path)
    with pytest.raises(thalweg.RecipeError, match=r"resume was given int, but it goes on with a thalweg\.Recipe"):
        thalweg.resume(str(run.path), 3)  # type: ignore[arg-type]
