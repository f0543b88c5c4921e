"""Shown: small pictures of the held-out images that a model is most wrong about, kept beside its predictions."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.core.files import write_json
from thalweg.data import ImageSource, TargetKind
from thalweg.data.image_decoding import resized

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_SHOWN, LARGEST_SIDE = 10, 64
"""Pictures for each target, as many as the report shows, and their pixels a side."""


def keep_shown(folder: Path, split: str, source: ImageSource, frame: "DataFrame") -> None:
    """Write the pictures of the rows that the report will show: JSON, the bytes of each in base64 by its row."""
    rows = sorted(set(worst_rows(source, frame)))
    layout = source.encoding.schema.layout
    scale = min(1.0, LARGEST_SIDE / max(layout[1:]))
    small = (layout[0], max(1, round(layout[1] * scale)), max(1, round(layout[2] * scale)))
    pictures: dict[str, Any] = {}
    for row in rows:
        image = np.round(source.images([row])[0].numpy() * 255).astype(np.uint8)
        shown = resized(image, small).transpose(1, 2, 0)
        pictures[str(row)] = base64.b64encode(np.ascontiguousarray(shown).tobytes()).decode("ascii")
    shape = {"height": small[1], "width": small[2], "channels": small[0]}
    write_json(folder / f"{split}-images.json", {**shape, "images": pictures}, indent=None)


def worst_rows(source: ImageSource, frame: "DataFrame") -> list[int]:
    """The rows that are wrong, the surest first; where none is, the least sure; of numbers those farthest off."""
    target = source.encoding.schema.target
    if target.kind is TargetKind.NUMBERS:
        targets = source.restore(source.targets).numpy()
        guessed = [name for name in frame.columns if str(name).startswith("prediction")][-targets.shape[1] :]
        off = np.abs(frame[guessed].to_numpy(dtype=float) - targets)
        return [int(row) for column in off.T for row in np.argsort(-column, kind="stable")[:MOST_SHOWN]]
    classes = source.target[source.ids]
    truth = np.asarray(source.encoding.labels)[classes if classes.ndim == 1 else classes.argmax(1)].astype(str)
    guess, share = (frame[last(frame, name)].to_numpy() for name in ("prediction", "probability"))
    wrong = np.flatnonzero(guess.astype(str) != truth)
    order = wrong[np.argsort(-share[wrong], kind="stable")] if len(wrong) else np.argsort(share, kind="stable")
    return [int(row) for row in order[:MOST_SHOWN]]


def last(frame: "DataFrame", name: str) -> Any:
    """The last column whose name begins so: what was predicted stands behind what came with the images."""
    return [column for column in frame.columns if str(column).startswith(name)][-1]
