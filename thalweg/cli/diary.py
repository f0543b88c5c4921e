"""The diary of an improvement: the rounds and their proofs as files of the run folder."""

import re
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.cli.results import keep_finding
from thalweg.core.errors import RunError
from thalweg.core.files import own_folder, read_object, write_json

if TYPE_CHECKING:
    from thalweg.remedy import Improvement, Round


OF_A_PROOF = ("remedy", "helped", "effect", "stopped", "kept")
"""What the diary repeats of a proof."""
OWN = re.compile(r"\d{2,}-[a-z0-9-]*\.json")
"""What a proof's file is called."""


class Diary:
    """The rounds and their proofs as files of the run folder, written as they come."""

    def __init__(self, path: Path, command: str) -> None:
        self.path, self.command = path, command
        self.document: dict[str, Any] = {}
        self.rounds: tuple[Round, ...] = ()
        self.earlier, self.proofs = _rounds_in(path), set[str]()
        self.others = _proofs_in(path)
        self.keep(())

    def keep(self, rounds: "tuple[Round, ...]", **more: Any) -> None:
        """Write the rounds so far: diary.json, the last finding, and each proof."""
        self.rounds = rounds
        for number, proof in enumerate((proof for turn in rounds for proof in turn.proofs), 1):
            name = re.sub(r"[^a-z0-9]+", "-", proof.remedy.name.lower()).strip("-")[:60]
            self.proofs.add(f"{number:02}-{name}.json")
            write_json(own_folder(self.path / "proofs") / f"{number:02}-{name}.json", proof.to_json())
        if rounds:
            keep_finding(self.path, rounds[-1].finding, self.command if rounds[-1].finding.remedies else None)
        told = [_told(number, turn) for number, turn in enumerate(rounds, 1)]
        told += self.earlier[len(told) :]  # until it has come so far again, what an earlier attempt has shown stays
        files = sorted(self.proofs | self.others)
        self.document = {
            "command": self.command,
            "rounds": told,
            "proofs": files,
            "ended": "it was interrupted",
            **more,
        }
        write_json(self.path / "diary.json", self.document)

    def failed(self, error: Exception) -> None:
        """Write the rounds so far once more, and the error that ended them."""
        self.keep(self.rounds, ended=f"an error ended it: {error if str(error) else type(error).__name__}")

    def end(self, result: "Improvement") -> dict[str, Any]:
        """Write the whole, with the scores that it began and ended with; what an earlier attempt tried else goes."""
        self.earlier, others = [], self.others - self.proofs
        self.others = set()
        self.keep(
            result.diary,
            start={"test": _scores(result.before)},
            end={"test": _scores(result.after)},
            judged_on=result.judged_on,
            validation_used=result.validation_used,
            ended=result.ended,
        )
        for other in others:
            with suppress(OSError):  # it is gone, or something else has its name
                (self.path / "proofs" / other).unlink()
        return self.document

    def __str__(self) -> str:
        last = len(self.document["rounds"])
        before = "" if last < 2 else f", with {'round 1' if last == 2 else f'rounds 1 to {last - 1}'}"
        shown = f"Interrupted in round {max(last, 1)}"
        told = f"{shown}: what it has shown is kept in {self.path}{before}." if last else f"{shown}, too early to show."
        return f"{told} Go on with it: thalweg resume {self.path}"


def _rounds_in(path: Path) -> list[dict[str, Any]]:
    """The rounds that an earlier attempt has written; none where there was none, or they cannot be read."""
    try:
        return list(read_object(path / "diary.json", rounds=list)["rounds"])
    except RunError:
        return []


def _proofs_in(path: Path) -> set[str]:
    """The names of the proofs that earlier attempts have written; none that could be a file elsewhere."""
    try:
        names = read_object(path / "diary.json", proofs=list)["proofs"]
    except RunError:
        return set()
    return {name for name in names if isinstance(name, str) and OWN.fullmatch(name)}


def _told(number: int, turn: "Round") -> dict[str, Any]:
    proofs = [proof.to_json() for proof in turn.proofs]
    return {
        "round": number,
        "cause": str(turn.finding.cause),
        "sentence": turn.finding.sentence,
        "raced": None if turn.race is None else turn.race.sentence,
        "tried": [{**{key: proof[key] for key in OF_A_PROOF}, "random": _beside(proof)} for proof in proofs],
        "adopted": None if turn.adopted is None else turn.adopted.remedy.name,
        "kept": None if turn.adopted is None else turn.adopted.kept.name,
        "race_cost": None if turn.race is None else asdict(turn.race.cost),
        **{key: turn.finding.to_json()[key] for key in ("experiments", "cost")},
    }


def _beside(proof: dict[str, Any]) -> dict[str, Any] | None:
    return None if proof["random"] is None else {key: proof["random"][key] for key in ("name", "effect")}


def _scores(scores: dict[str, tuple[float, float, float]]) -> dict[str, dict[str, float]]:
    return {name: dict(zip(("value", "low", "high"), score, strict=True)) for name, score in scores.items()}
