"""Saving: a run's checkpoints while it trains, and a run put back where a checkpoint stands."""

import json
import platform
import re
import time
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thalweg.core.errors import RunError
from thalweg.core.fingerprint import UNKNOWN, fingerprint
from thalweg.core.notices import notice
from thalweg.core.source import Ordered
from thalweg.core.stream import StreamSource
from thalweg.training.build import Training
from thalweg.training.checkpoint import KEPT, Checkpoint, Checkpoints, Place, packed, room_for, unpacked
from thalweg.training.keeper import Keeper, snapshot
from thalweg.training.position import Position
from thalweg.training.recipe import Recipe
from thalweg.training.state import put_back, taken
from thalweg.training.tally import RunningMean
from thalweg.training.weights import packed_weights, unpack_weights

EVERY_SECONDS = 60.0
"""Within an epoch a checkpoint is written so often."""
LEAST_SECONDS = 1.0
"""At the end of an epoch one is written unless the last is younger than this."""
SHARE = 20.0
"""No checkpoint begins before so many times what the last one took: at most a twentieth of the time goes into them."""


class Saver:
    """Writes the checkpoints of one run, at the ends of its epochs and within them, and reads the newest back."""

    def __init__(self, training: Training, keeper: Keeper, folder: Path, notices: list[str]) -> None:
        self.training, self.keeper, self.notices = training, keeper, notices
        if (folder / "checkpoints").is_symlink():
            raise RunError(
                f"{folder / 'checkpoints'} is a link, which a run does not follow. Put the folder itself there."
            )
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.written, self.last = time.monotonic(), (1, 0)
        self.took = 0.0
        self.tried, self.able = False, True
        self.own_loop = training.recipe.loop is not None
        self.about = about(training.recipe)
        room_for(folder, _size(training))

    @property
    def machine(self) -> dict[str, str]:
        """What the last bits of the result depend on beside the recipe."""
        return machine(self.training.device) | self.training.choices

    @property
    def place(self) -> Place:
        """Where the training stands."""
        return self.training.position.epoch, self.training.position.batch

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is so old that one is due within the epoch."""
        return time.monotonic() - self.written >= max(EVERY_SECONDS, SHARE * self.took)

    @property
    def due_after_epoch(self) -> bool:
        """Whether one is due at the end of an epoch: unless it was just written."""
        return time.monotonic() - self.written >= max(LEAST_SECONDS, SHARE * self.took) or self.last == (1, 0)

    def save(self) -> None:
        """Write a checkpoint of where the training stands; within an epoch of a user's own loop there is none."""
        if not self.able or self.place == self.last or (self.own_loop and self.training.position.batch):
            return
        began = time.monotonic()
        payload = self._payload()
        if payload is None:
            return
        state = self.keeper.best_state
        best = None if state is None else (self.keeper.best_epoch, partial(packed_weights, state))
        self.checkpoints.write(self.place, packed_weights(self.training.model.state_dict()), best, payload)
        self.written, self.last = time.monotonic(), self.place
        self.took = self.written - began

    def _payload(self) -> bytes | None:
        """The state in bytes; once it is tried whether it can be read back, and said where it cannot."""
        try:
            payload = packed(self._state())
            if not self.tried:
                unpacked(payload)
                self.tried = True
            return payload
        except Exception as error:  # whatever a user's own state_dict holds
            self.able = False
            notice(
                "No checkpoints are written, so this run cannot be resumed: its state holds what cannot be read back "
                f"without running code ({_culprit(error)}). Keep numbers, tensors, lists and dicts in "
                "the state_dict of the optimizer and the schedule, and in the model's attributes."
            )
            return None

    def _state(self) -> dict[str, Any]:
        keeper = self.keeper
        return taken(self.training) | {
            "history": json.dumps(keeper.history),
            "best": {"epoch": keeper.best_epoch, "loss": keeper.best_loss},
            "notices": list(self.notices),
            "recipe": self.about,
            "machine": self.machine,
        }

    def load(self, found: Checkpoint, force: bool = False) -> bool:
        """Put a checkpoint back into the training and the keeper; whether the recipe is another one.

        Raises `RunError` where the recipe is another one, with what differs, unless `force` is set.
        """
        training, keeper, state = self.training, self.keeper, found.state
        other = check_same(self.about, state["recipe"], force)
        done = found.place[0] - (found.place[1] == 0)
        if done > training.recipe.epochs:
            raise RunError(
                f"The run is in epoch {done} already, and the recipe asks for {training.recipe.epochs}: there is no "
                "way back. Give it as many epochs as it has begun, or train anew."
            )
        _say_machine(state["machine"], self.machine)
        self.notices[:0] = [said for said in state["notices"] if said not in self.notices]
        keeper.history = json.loads(state["history"])
        keeper.best_epoch, keeper.best_loss = state["best"]["epoch"], state["best"]["loss"]
        name, mend = "of the checkpoint", "Resume with the model that the run began with."
        if found.best_lost:
            notice(
                f"{found.best_lost} The weights of epoch {keeper.best_epoch}, the best until then, are lost: the best "
                "is looked for among the epochs that follow."
            )
            keeper.best_epoch, keeper.best_loss = 0, inf
        if found.best is not None:
            unpack_weights(training.model, found.best, name, mend, grown=True)
            keeper.best_state = snapshot(training.model)
        unpack_weights(training.model, found.weights, name, mend, grown=True)
        put_back(training, state, other)
        if training.position.batch and {"data", "batch_size", "collate"} & set(other):
            notice(f"The data differ, so epoch {training.position.epoch} begins anew.")
            training.position = Position(RunningMean(training.device), training.position.epoch)
        _say_what_is_not_exact(training)
        self.checkpoints.forget_after(found.place)
        self.last = found.place
        return bool(other)


def _culprit(error: Exception) -> str:
    """What cannot be read back, from torch's error, which goes on at length about its own options."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    return named[1] if named else str(error).splitlines()[0][:120]


def about(recipe: Recipe) -> dict[str, dict[str, str]]:
    """Each field of a recipe as it is compared, and in words."""
    described = recipe.describe()
    return {
        name: {"fingerprint": fingerprint(getattr(recipe, name)), "described": text} for name, text in described.items()
    }


def check_same(now: dict[str, dict[str, str]], kept: dict[str, dict[str, str]], force: bool) -> list[str]:
    """The fields in which what is said `about` two recipes differs; what cannot be compared is said.

    Raises `RunError` where there are any, unless `force` is set.
    """
    marks = {name: (kept.get(name, {}).get("fingerprint"), field["fingerprint"]) for name, field in now.items()}
    unknown = [name for name, pair in marks.items() if UNKNOWN in pair]
    other = [name for name, pair in marks.items() if pair[0] != pair[1] and name not in unknown]
    if unknown:
        notice(
            f"Not compared with the run that is resumed: {', '.join(unknown)}. If they differ, so does what follows."
        )
    if not other:
        return []
    lines = [f"{name}: {kept.get(name, {}).get('described', 'absent')} -> {now[name]['described']}" for name in other]
    lines = [f"{name}: other content" if len(set(line.split(": ", 1)[1].split(" -> "))) == 1 else line
             for name, line in zip(other, lines, strict=True)]  # fmt: skip
    if not force:
        raise RunError(
            f"The run was trained otherwise: {'; '.join(lines)}. Resume it with what it began with, or insist: "
            "thalweg resume RUN --force, or resume(..., force=True)."
        )
    notice(f"Resumed with other settings than it began with: {'; '.join(lines)}.")
    return other


def _say_what_is_not_exact(training: Training) -> None:
    """Say where we cannot know that a run goes on to the same bits."""
    at = training.position
    if training.recipe.loop is not None:
        notice(
            f"The run has a training loop of its own, which goes on from the beginning of epoch {at.epoch}; what it "
            "keeps in variables from one epoch to the next begins anew."
        )
    if at.batch and not isinstance(training.source, StreamSource | Ordered):
        notice(
            f"The train split is a source of your own, which goes on with batch {at.batch + 1} of epoch {at.epoch}. "
            "The run is exact if what a batch holds depends on the epoch, its place and the generator alone."
        )
    if at.batch and isinstance(training.source, StreamSource):
        notice(
            f"The train split is a stream or has a batch sampler of its own: its first {at.batch} batches are read "
            "again and passed over. The run is exact if they come in the same order each time."
        )


def machine(device: torch.device) -> dict[str, str]:
    """What the last bits of a result depend on beside the recipe."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
        "device": device.type,
        "processor": name,
    }


def _say_machine(before: dict[str, str], now: dict[str, str]) -> None:
    changed = [f"{name} {before.get(name)} -> {value}" for name, value in now.items() if before.get(name) != value]
    if changed:
        notice(f"The rest of this run is not bit-exact: it goes on with {', '.join(changed)}.")


def _size(training: Training) -> int:
    """About how many bytes the checkpoints of a run take: those kept, the one being written, the weights at the end."""
    state = training.model.state_dict().values()
    weights = sum(value.nbytes for value in state if isinstance(value, Tensor))
    trained = sum(weight.nbytes for weight in training.model.parameters() if weight.requires_grad)
    group = training.optimizer.param_groups[0]
    moments = 2 if "betas" in group else 1 if group.get("momentum") or group.get("alpha") else 0
    best = training.validation is not None
    copies = 1 + best + (training.average is not None)
    return (KEPT + 1) * (weights * copies + moments * trained)
