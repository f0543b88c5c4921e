"""The trajectory of a run: its weights at the beginning and after some of its epochs, on disk.

What the surface looked like where the training went can be asked of it afterwards. Kept are the weights before the
first epoch, after each that a stride divides, and after epochs 1, 2, 4, 8 ..., in which most happens. The stride
doubles when the points are too many, so that a run that is resumed keeps the same ones.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from thalweg.core.errors import RunError, WriteError
from thalweg.core.files import own_folder, read_own, write_own
from thalweg.core.notices import notice
from thalweg.training.weights import packed_weights

FOLDER = "trajectory"
MOST_POINTS, FEWEST_POINTS = 33, 5
MOST_BYTES = 64 * 2**20
"""All points together take no more; a model so large that fewer than `FEWEST_POINTS` would fit keeps none."""


def stride_of(epoch: int, most: int = MOST_POINTS) -> int:
    """The spacing of the points once an epoch is done: the smallest power of 2 by which they are no more than `most`.

    >>> [stride_of(epoch, most=5) for epoch in (4, 5, 8, 100)]
    [1, 2, 2, 32]
    """
    stride = 1
    while epoch // stride + 1 > most:
        stride *= 2
    return stride


def is_kept(epoch: int, stride: int) -> bool:
    """Whether an epoch is one of the points: a power of 2, or divided by the stride.

    >>> [epoch for epoch in range(21) if is_kept(epoch, 5)]
    [0, 1, 2, 4, 5, 8, 10, 15, 16, 20]
    """
    return epoch & (epoch - 1) == 0 or epoch % stride == 0


class Trajectory:
    """Keeps the points of one run in its folder."""

    def __init__(self, folder: Path, model: nn.Module) -> None:
        self.folder, self.model = folder / FOLDER, model
        size = sum(value.nbytes for value in model.state_dict().values() if isinstance(value, Tensor))
        self.most = min(MOST_POINTS, MOST_BYTES // max(size, 1))

    def keep(self, epoch: int) -> None:
        """Keep the weights as they are after an epoch (0: before the first), if it is one of the points."""
        stride = stride_of(epoch, max(self.most, 1))
        if self.most < FEWEST_POINTS or not is_kept(epoch, stride):
            return
        try:
            write_own(own_folder(self.folder) / _name(epoch), packed_weights(self.model.state_dict()))
        except WriteError as error:
            self.most = 0
            notice(f"The trajectory of the run ends before epoch {epoch}: {error}")
            return
        for kept in epochs_of(self.folder):
            if not is_kept(kept, stride) or kept > epoch:
                (self.folder / _name(kept)).unlink(missing_ok=True)


def epochs_of(folder: Path) -> list[int]:
    """The epochs whose weights a folder holds."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    found = (file.stem.removeprefix("epoch-") for file in folder.glob("epoch-*.safetensors"))
    return sorted(int(epoch) for epoch in found if epoch.isascii() and epoch.isdigit())


def read_trajectory(run: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The epochs and states of a run folder, in order; a damaged one is passed over, and that is said."""
    for epoch in epochs_of(run / FOLDER):
        try:
            yield epoch, safetensors.torch.load(read_own(run / FOLDER / _name(epoch)))
        except (RunError, SafetensorError, ValueError) as error:
            notice(f"The weights of epoch {epoch} cannot be read ({error}): the trajectory goes on without them.")


def _name(epoch: int) -> str:
    return f"epoch-{epoch:06d}.safetensors"
