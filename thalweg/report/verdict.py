"""The top of the page: the verdict in one sentence, what to do next, and the numbers that matter most."""

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.report.evidence import Evidence, mapping, texts
from thalweg.report.wording import clean, duration, interval, number, quantity, spoken

ENDED = {
    "FINISHED": "All epochs were trained.",
    "STOPPED_EARLY": "The stopping rule ended training before the last epoch.",
    "DIVERGED": "Training diverged: the loss became NaN or infinite.",
    "INTERRUPTED": "Training was interrupted; what was learned until then is kept.",
    "FAILED": "Training failed with an error.",
    "RUNNING": "This run has not ended: it is still going on, or was killed.",
}


@dataclass(frozen=True)
class Verdict:
    """What the page says first. `tone` is good, bad or plain."""

    mark: str
    tone: str
    sentence: str
    explanation: list[str]
    command: str
    advice: str
    tiles: list[tuple[str, str, str]]


def verdict(evidence: Evidence) -> Verdict:
    """The finding's own sentence, or for a run without one how it ended and what it scores."""
    finding, status = evidence.finding, clean(evidence.run.get("status", ""), 40)
    if finding:
        cause = clean(finding.get("cause", "UNDECIDED"), 40)
        tone = {"NONE": "good", "UNDECIDED": "plain"}.get(cause, "bad")
        mark = {"NONE": "Nothing holds it back"}.get(cause, spoken(cause))
        sentence = texts(finding.get("sentence")) or [mark]
        said = [text for text in texts(finding.get("mechanism")) if text.lower() not in " ".join(sentence).lower()]
        if finding.get("would_decide"):
            said.append(f"What would decide it: {finding['would_decide']}")
        step = texts(finding.get("next"))
    else:
        good = status in ("FINISHED", "STOPPED_EARLY")
        mark, tone = ("Trained", "plain") if good else (spoken(status or "unknown"), "bad")
        sentence, said = _plain(evidence, status, good)
        step = [f"thalweg diagnose {shlex.quote(_name(evidence))}"] if status != "RUNNING" else []
    following = step[0] if step else ""
    command, advice = (following, "") if following.startswith(("thalweg ", "make ")) else ("", following)
    return Verdict(mark, tone, " ".join(sentence), said, command, advice, _tiles(evidence))


def headline(evidence: Evidence) -> tuple[str, str, dict[str, Any]] | None:
    """The split and name and value of the score to show first: test before validation, a metric before the loss."""
    for split in ("test", "validation", "train"):
        scores = evidence.scores.get(split, {})
        names = [name for name in scores if name != "loss" and not math.isnan(number(scores[name].get("value")))]
        if names or "loss" in scores:
            name = (names or ["loss"])[0]
            return split, name, scores[name]
    return None


def _name(evidence: Evidence) -> str:
    return str(evidence.run.get("run") or Path(evidence.folder).resolve().name)


def _plain(evidence: Evidence, status: str, good: bool) -> tuple[list[str], list[str]]:
    ended = ENDED.get(status, f"The run ended as {status or 'unknown'}.")
    error = texts(evidence.run.get("error"))
    if not good:
        return [ended], error
    first = headline(evidence)
    if first is None:
        return [ended], ["It was not judged yet: there is no evaluation.json."]
    split, name, score = first
    sentence = f"{spoken(name)} on {split} is {interval(score)}."
    return [sentence], [ended, "Whether it could be better, and what holds it back, is not diagnosed yet."]


def _tiles(evidence: Evidence) -> list[tuple[str, str, str]]:
    tiles = []
    if first := headline(evidence):
        split, name, score = first
        shown, _, between = interval(score).partition(" ")
        tiles.append((f"{spoken(name)}, {split}", shown, between.strip()))
        loss = evidence.scores[split].get("loss")
        if loss is not None and name != "loss":
            shown, _, between = interval(loss).partition(" ")
            tiles.append((f"Loss, {split}", shown, between.strip()))
    run, cost = evidence.run, mapping(evidence.finding.get("cost"))
    if number(run.get("epochs")) > 0:
        best = number(run.get("best_epoch"))
        tiles.append(("Epochs", quantity(run["epochs"], 0), f"best: {best:.0f}" if best > 0 else ""))
        tiles.append(("Training", duration(run.get("seconds")), ""))
    if cost:
        runs, times = quantity(cost.get("runs"), 0), number(cost.get("times"))
        beside = f", {quantity(times, 1)} times one training" if times == times else ""
        tiles.append(("Diagnosis", duration(cost.get("seconds")), f"{runs} runs{beside}"))
    return tiles
