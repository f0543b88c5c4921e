"""Runs that are killed, damaged or locked out go on to the same bits, or say why they cannot."""

import json
import os
import random
import shutil
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import ended, in_child
from resuming import STEPS, bits, broken_off, dense_saving, interrupting, loading, recipe

import thalweg
from thalweg import Outcome, Recipe, Run, RunError
from thalweg.core.lock import is_locked
from thalweg.training import saving
from thalweg.training.checkpoint import Checkpoints

# --- killed ---


def only_run(out: Path) -> Path | None:
    return next((file.parent for file in out.glob("*/recipe.json")), None)


def finished(out: Path, chosen: Recipe) -> Run:
    """What a user does after a kill: resume, or, where nothing was kept, give the same command again."""
    path = only_run(out)
    if path is not None:
        return thalweg.resume(path, chosen)
    return thalweg.train(chosen, out=out / "again")


def killed_at(operation: int, chosen: Recipe, out: Path) -> int:
    """Train in a child that dies by SIGKILL before a file-system operation of that number; how many it has done."""
    counter = out / "operations"

    def work() -> None:
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            if done == operation:
                os.kill(os.getpid(), signal.SIGKILL)

        def hook(event: str, arguments: Any) -> None:
            touches = event in ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod")
            if touches and str(arguments[0]).startswith(str(out)):
                count()

        synchronize = os.fsync

        def fsync(descriptor: int) -> None:
            count()
            synchronize(descriptor)
            count()

        os.fsync = fsync
        sys.addaudithook(hook)
        thalweg.train(chosen, out=out)
        counter.with_name(f"operations-{done}").touch()

    code = ended(in_child(work))
    assert code in (0, -signal.SIGKILL)
    made = next(out.glob("operations-*"), None)
    return int(made.name.partition("-")[2]) if made is not None else 0


@pytest.mark.parametrize("temporary", [None, pytest.param("/dev/shm", marks=pytest.mark.battery)])
def test_a_kill_at_any_operation_of_a_save_loses_nothing(
    temporary: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With temporary files on one file system and on another. Short: every 17th operation; the battery has them all."""
    if temporary is not None:
        monkeypatch.setenv("TMPDIR", temporary)
    dense_saving(monkeypatch)
    chosen = recipe(epochs=2, batch_size=22)
    expected = bits(thalweg.train(chosen))
    (tmp_path / "count").mkdir()
    operations = killed_at(0, chosen, tmp_path / "count")
    assert operations > 100
    stride = 1 if os.environ.get("THALWEG_BATTERY") else 17
    for operation in range(1, operations + 1, stride):
        out = tmp_path / str(operation)
        out.mkdir()
        killed_at(operation, chosen, out)
        path = only_run(out)
        if path is not None and json.loads((path / "run.json").read_bytes())["status"] == "FINISHED":
            assert bits(thalweg.load_run(path, chosen)) == expected
            continue
        assert bits(finished(out, chosen)) == expected, operation
        shutil.rmtree(out)


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.battery)])
def test_a_kill_at_a_random_moment_loses_nothing(kills: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Augmented data, dropout, batch norm, momentum; killed by SIGKILL up to three times on the way."""
    monkeypatch.setattr(saving, "EVERY_SECONDS", 0.02)
    monkeypatch.setattr(saving, "LEAST_SECONDS", 0.02)
    chosen = recipe(data=loading(0), epochs=30)
    expected = bits(thalweg.train(chosen))
    moments = random.Random(kills)
    killed = 0
    for number in range(kills):
        out = tmp_path / str(number)
        out.mkdir()
        for _ in range(moments.randint(1, 3)):
            path = only_run(out)
            work = partial(thalweg.train, chosen, out=out) if path is None else partial(thalweg.resume, path, chosen)
            pid = in_child(work)
            signal.sigtimedwait((), moments.uniform(0.01, 0.6))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            code = ended(pid)
            killed += code == -signal.SIGKILL
            if code == 0:
                break
        path = only_run(out)
        if path is not None and json.loads((path / "run.json").read_bytes())["status"] == "FINISHED":
            again = thalweg.load_run(path, chosen)
        else:
            again = finished(out, chosen)
        assert bits(again) == expected, number
        shutil.rmtree(out)
    assert killed >= kills / 2


def test_workers_of_a_killed_run_do_not_hold_its_folder(tmp_path: Path) -> None:
    chosen = recipe(data=loading(2), epochs=2)
    pid = in_child(
        lambda: thalweg.train(
            chosen, out=tmp_path, progress=lambda epoch, step, row: os.kill(os.getpid(), 9) if step == 9 else None
        )
    )
    assert ended(pid) == -signal.SIGKILL
    path = only_run(tmp_path)
    assert path is not None
    assert bits(thalweg.resume(path, chosen)) == bits(thalweg.train(chosen))


def test_a_run_that_is_killed_before_its_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    chosen = recipe()
    pid = in_child(lambda: thalweg.train(chosen, out=tmp_path, progress=lambda *_: os.kill(os.getpid(), 9)))
    assert ended(pid) == -signal.SIGKILL
    path = only_run(tmp_path)
    assert path is not None
    with pytest.raises(RunError, match="was killed before it ended. Go on with it: thalweg resume"):
        thalweg.load_run(path, chosen)
    assert bits(thalweg.resume(path, chosen)) == bits(thalweg.train(chosen))


# --- damaged ---


def damaged(kind: str, file: Path) -> None:
    data = file.read_bytes()
    if kind == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "flipped":
        middle = len(data) // 2
        file.write_bytes(data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])
    else:
        file.unlink()


@pytest.mark.parametrize("ending", ["json", "state", "safetensors"])
@pytest.mark.parametrize("kind", ["truncated", "empty", "flipped", "missing"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(kind: str, ending: str, tmp_path: Path) -> None:
    if (kind, ending) == ("missing", "json"):
        return  # a checkpoint without its manifest is none
    chosen = recipe()
    path = broken_off(chosen, tmp_path, 15)
    newest = Checkpoints(path / "checkpoints").places()[0]
    assert newest == (3, 3)
    name = f"epoch-0003-batch-000003.{ending}"
    damaged(kind, path / "checkpoints" / name)
    again = thalweg.resume(path, chosen)
    assert bits(again) == bits(thalweg.train(chosen))
    said = [notice for notice in again.notices if "The checkpoint before it is used." in notice]
    assert [message.startswith("epoch-0003-batch-000003.") for message in said] == [True], again.notices


def test_without_the_best_weights_the_run_goes_on_and_says_so(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path, 15)
    for file in (path / "checkpoints").glob("best-*"):
        damaged("flipped", file)
    run = thalweg.resume(path, recipe())
    whole = thalweg.train(recipe())
    assert bits(run)[0] == bits(whole)[0]
    assert run.best_epoch >= 3
    assert any("the best until then, are lost: the best is looked for among the epochs" in said for said in run.notices)


def test_a_folder_at_the_name_of_a_checkpoints_file_is_left_alone(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path, 15)
    newest = max((path / "checkpoints").glob("*.state"))
    newest.unlink()
    (newest / "theirs").mkdir(parents=True)
    run = thalweg.resume(path, recipe())
    assert bits(run) == bits(thalweg.train(recipe()))
    assert (newest / "theirs").is_dir()


def test_an_interrupt_of_the_progress_leaves_a_checkpoint_of_its_step(tmp_path: Path) -> None:
    def interrupt(epoch: int, step: int, row: Any) -> None:
        if step == 4:
            raise KeyboardInterrupt

    run = thalweg.train(recipe(), out=tmp_path, progress=interrupt)
    assert run.path is not None
    assert Checkpoints(run.path / "checkpoints").places() == [(1, 4)]
    assert bits(thalweg.resume(run.path, recipe())) == bits(thalweg.train(recipe()))


def test_where_every_checkpoint_is_damaged_each_is_named(tmp_path: Path) -> None:
    chosen = recipe()
    path = broken_off(chosen, tmp_path, 15)
    for file in (path / "checkpoints").glob("*.state"):
        damaged("flipped", file)
    before = {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(RunError) as caught:
        thalweg.resume(path, chosen)
    assert "No checkpoint in" in str(caught.value)
    assert "epoch-0003-batch-000003.state is damaged" in str(caught.value)
    assert str(caught.value).count("is damaged") == 2
    assert {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_a_state_is_never_unpickled(tmp_path: Path) -> None:
    """A file with a true manifest and code inside: refused, whatever the environment says of torch.load."""
    from thalweg.training.checkpoint import framed

    class Evil:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "owned"),))

    torch.save({"step": Evil()}, tmp_path / "evil")
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.write((1, 1), b"", None, (tmp_path / "evil").read_bytes())
    assert framed(b"")
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with pytest.raises(RunError, match="cannot be read"):
            checkpoints.newest()
    finally:
        del os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]
    assert not (tmp_path / "owned").exists()


def test_what_cannot_be_read_back_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    class Peculiar(torch.optim.SGD):
        def state_dict(self) -> dict[str, Any]:
            return super().state_dict() | {"path": Path("here")}

    run = thalweg.train(recipe(optimizer=partial(Peculiar, lr=0.1)), out=tmp_path)
    assert run.status is Outcome.FINISHED
    assert any("this run cannot be resumed: its state holds what cannot be read back" in said for said in run.notices)


# --- the folder ---


def test_one_process_trains_in_a_folder(tmp_path: Path) -> None:
    chosen = recipe(epochs=100000)
    pid = in_child(lambda: thalweg.train(chosen, out=tmp_path))
    try:
        while (path := only_run(tmp_path)) is None or not is_locked(path):
            signal.sigtimedwait((), 0.05)
        with pytest.raises(RunError, match=f"is being trained by process {pid} on"):
            thalweg.resume(path, chosen)
        with pytest.raises(RunError, match="is still going on"):
            thalweg.load_run(path, chosen)
    finally:
        os.kill(pid, signal.SIGKILL)
        ended(pid)
    assert not is_locked(path)  # a dead process holds nothing
    assert thalweg.resume(path, chosen, progress=interrupting(STEPS)).status is Outcome.INTERRUPTED


def test_links_at_our_names_are_replaced_and_not_followed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("precious")
    path = broken_off(recipe(), tmp_path / "out", 9)
    for name in ("run.json", "metrics.jsonl"):
        (path / name).rename(path / f"{name}.kept")
        (path / name).symlink_to(theirs) if name == "metrics.jsonl" else (path / f"{name}.kept").rename(path / name)
    for name in ("last.safetensors", "best.safetensors", "best-0001.safetensors", "best-0002.safetensors"):
        (path / "checkpoints" / name).unlink(missing_ok=True)
        (path / "checkpoints" / name).symlink_to(theirs)
    with suppress(RunError):  # a link instead of the best weights is a damaged checkpoint
        thalweg.resume(path, recipe())
    assert theirs.read_text() == "precious"


def test_a_link_in_place_of_the_checkpoints_is_refused(tmp_path: Path) -> None:
    path = broken_off(recipe(), tmp_path / "out", 9)
    (path / "checkpoints").rename(tmp_path / "elsewhere")
    (path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="checkpoints is a link, which a run does not follow. Put the folder itself"):
        thalweg.resume(path, recipe())


def test_a_folder_that_is_refused_is_let_go(tmp_path: Path) -> None:
    run = thalweg.train(recipe(), out=tmp_path)
    assert run.path is not None
    with pytest.raises(RunError, match="has ended as FINISHED"):
        thalweg.resume(run.path, recipe())
    assert not is_locked(run.path)


def test_too_little_room_is_said_before_the_first_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)
    small = os.statvfs_result((*room[:4], 0, *room[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    steps: list[int] = []
    with pytest.raises(RunError, match="has 0 MB left, but the checkpoints of this run take up to"):
        thalweg.train(recipe(), out=tmp_path, progress=lambda epoch, step, row: steps.append(step))
    assert not steps


def test_a_disk_that_fills_up_leaves_the_old_checkpoint_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import resource

    dense_saving(monkeypatch)
    chosen = recipe(epochs=2)

    def fills(epoch: int, step: int, row: Any) -> None:
        if step == 8:
            resource.setrlimit(resource.RLIMIT_FSIZE, (512, resource.RLIM_INFINITY))

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            thalweg.train(chosen, out=tmp_path, progress=fills)
        except OSError as error:
            os._exit(7 if "cannot be written: File too large. Allow larger files" in str(error) else 8)

    assert ended(in_child(work)) == 7
    path = only_run(tmp_path)
    assert path is not None
    assert bits(thalweg.resume(path, chosen)) == bits(thalweg.train(chosen))
