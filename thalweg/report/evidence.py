"""What a run folder holds, read without trust: a file may be absent, damaged, or not what it was meant to be."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thalweg.core.errors import RunError

LONGEST_HEADER = 16 * 2**20
"""Bytes of the list of tensors at the head of a weights file; more is no such file."""


@dataclass(frozen=True)
class Evidence:
    """The files of a run folder as plain values, empty where there is no such file."""

    folder: Path
    run: dict[str, Any]
    recipe: dict[str, Any]
    history: list[dict[str, Any]]
    evaluation: dict[str, Any]
    target: dict[str, Any]
    finding: dict[str, Any]
    proofs: list[dict[str, Any]]
    diary: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]
    inside: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)
    landscape: dict[str, Any] = field(default_factory=dict)
    decoding: dict[str, Any] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The value, low and high of each quantity by split and name."""
        return scores_of(self.evaluation)

    @property
    def photos(self) -> bool:
        """Whether the run was trained on images from files, whose pictures are kept beside the predictions."""
        return any((self.folder / "predictions").glob("*-images.json"))

    def predictions(self, split: str) -> Path:
        """Where the predictions of a split are, if there are any."""
        return self.folder / "predictions" / f"{split}.csv"


def read_evidence(folder: Path) -> Evidence:
    """Read a run folder; nothing in it is run or imported.

    Raises `RunError` for a folder without run.json, and for a damaged file, which it names.

    >>> read_evidence(Path("nowhere"))
    Traceback (most recent call last):
    thalweg.core.errors.RunError: nowhere is no run folder: it has no run.json. ...
    """
    if not (folder / "run.json").is_file():
        raise RunError(f"{folder} is no run folder: it has no run.json. Give a folder that thalweg train wrote.")
    preprocessing, evaluation = read_object(folder / "preprocessing.json"), read_object(folder / "evaluation.json")
    return Evidence(
        folder=folder,
        run=read_object(folder / "run.json"),
        recipe=read_object(folder / "recipe.json"),
        history=_read_lines(folder / "metrics.jsonl"),
        evaluation=evaluation,
        target=_target_of(mapping(preprocessing.get("schema"))) or mapping(evaluation.get("target")),
        finding=read_object(folder / "finding.json"),
        proofs=[read_object(file) for file in sorted((folder / "proofs").glob("*.json"))],
        diary=read_object(folder / "diary.json"),
        tensors=_read_tensors(folder / "checkpoints" / "best.safetensors"),
        inside=read_object(folder / "inside.json"),
        augmentation=read_object(folder / "augmentation.json"),
        landscape=read_object(folder / "landscape.json"),
        decoding=read_object(folder / "decoding.json"),
    )


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file; `RunError` where the file holds none."""
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(file, error) from error
    if not isinstance(found, dict):
        raise damaged(file, f"it holds a {type(found).__name__}, not an object")
    return found


def damaged(file: Path, why: object) -> RunError:
    """The error for a file that cannot be read."""
    return RunError(
        f"{file} is damaged ({str(why)[:200]}). Write it again with the command that made it, or take the file away: "
        "the report then leaves out what it shows."
    )


def mapping(value: Any) -> dict[str, Any]:
    """The value where it is an object, else an empty one.

    >>> mapping({"a": 1}), mapping(None)
    ({'a': 1}, {})
    """
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[dict[str, Any]]:
    """The objects among the items of a list.

    >>> mappings([{"a": 1}, 7]), mappings(None)
    ([{'a': 1}], [])
    """
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """The items of a list as text, or the one text.

    >>> texts(["a", 1]), texts("a"), texts(None)
    (['a', '1'], ['a'], [])
    """
    if isinstance(value, str):
        return [value]
    return [str(item) for item in value] if isinstance(value, list) else []


def scores_of(evaluation: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """Scores by split and name, from what evaluation.json holds or from the part of it under "metrics".

    >>> scores_of({"metrics": {"test": {"loss": {"value": 1.0}, "note": 3}}})
    {'test': {'loss': {'value': 1.0}}}
    """
    found = mapping(evaluation)
    found = mapping(found["metrics"]) if "metrics" in found else found
    splits = {split: found[split] for split in ("train", "validation", "test") if isinstance(found.get(split), dict)}
    return {
        split: {name: score for name, score in scores.items() if isinstance(score, dict)}
        for split, scores in splits.items()
    }


def _target_of(schema: dict[str, Any]) -> dict[str, Any]:
    """What is predicted, by a schema; those of sequences and graphs have it in the schema of the table beside them."""
    holders = (schema, mapping(schema.get("table")), mapping(schema.get("columns")))
    return next((target for holder in holders if (target := mapping(holder.get("target")))), {})


def _read_lines(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    rows = []
    for count, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise damaged(file, f"line {count}: {error}") from error
        if not isinstance(row, dict):
            raise damaged(file, f"line {count} holds no object")
        rows.append(row)
    return rows


def _read_tensors(file: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor, from the head of a safetensors file: 8 bytes of length, then JSON."""
    if not file.exists():
        return {}
    with file.open("rb") as stream:
        start = stream.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < size <= LONGEST_HEADER:
            raise damaged(file, "it does not begin as a safetensors file does")
        head = stream.read(size)
    try:
        listed = dict(json.loads(head))
        return {name: tuple(map(int, listed[name]["shape"])) for name in listed if name != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(file, error) from error
