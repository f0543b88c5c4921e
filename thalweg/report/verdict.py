"""The top of the page: the verdict in one sentence, what to do next, and the numbers that matter most."""

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.report.evidence import Evidence, mapping, mappings, texts
from thalweg.report.terms import OF_OUTPUTS
from thalweg.report.wording import clean, duration, interval, number, quantity, sentences, spoken

LONGEST_SAID = 1200
"""Characters of what a finding says below its first sentence."""

ENDED = {
    "FINISHED": "All epochs were trained.",
    "STOPPED_EARLY": "The stopping rule ended training before the last epoch.",
    "DIVERGED": "Training diverged: the loss became NaN or infinite.",
    "INTERRUPTED": "Training was interrupted; what was learned until then is kept.",
    "FAILED": "Training failed with an error.",
    "RUNNING": "This run has not ended: it is still going on, or was killed.",
}

CUT_SHORT = {
    "INTERRUPTED": "It was interrupted: this is what was found until then.",
    "RUNNING": "It has not ended: this is what was found so far.",
}
"""What is said beside a finding that is not the last word."""


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
        whole = " ".join(texts(finding.get("sentence"))) or mark
        first, *more = (sentences(clean(whole, LONGEST_SAID)) if len(whole) <= LONGEST_SAID else [whole]) or [mark]
        sentence = [clean(first)]
        said = [" ".join(more)] if more else []
        said += [_said(text) for text in texts(finding.get("mechanism")) if text.lower() not in whole.lower()]
        said += [CUT_SHORT[status]] if status in CUT_SHORT else []
        step = texts(finding.get("next")) or texts(finding.get("mend")) or _following(evidence, cause)
        if finding.get("would_decide") and step != texts(finding["would_decide"]):
            said.append(f"What would decide it: {_said(finding['would_decide'])}")
    else:
        good = status in ("FINISHED", "STOPPED_EARLY")
        mark, tone = ("Trained", "plain") if good else (spoken(status or "unknown"), "bad")
        sentence, said = _plain(evidence, status, good)
        step = [f"thalweg diagnose {shlex.quote(_name(evidence))}"] if status != "RUNNING" else []
    following = step[0] if step else ""
    command, advice = (following, "") if following.startswith(("thalweg ", "make ")) else ("", _said(following))
    return Verdict(mark, tone, " ".join(sentence), said, command, advice, _tiles(evidence))


def _said(text: Any) -> str:
    return clean(text, LONGEST_SAID)


def _following(evidence: Evidence, cause: str) -> list[str]:
    """What to do where the finding names no command."""
    if cause == "NONE" and evidence.target and evidence.recipe.get("origin"):
        new = "new_photos" if evidence.photos else "new.csv"
        return [f"thalweg predict {shlex.quote(_name(evidence))} {new}"]
    if cause == "NONE":
        return ["It is ready to use: thalweg.load_run, with the folder of this run and its recipe, gives the model."]
    return texts(evidence.finding.get("would_decide"))


def headline(evidence: Evidence) -> tuple[str, str, dict[str, Any]] | None:
    """The split and name and value of the score to show first: test before validation, a metric before the loss.

    Of texts it is the edit rate of whole outputs, of trees and sets an F1: the accuracy is of single tokens, each after
    the true ones.
    """
    for split in ("test", "validation", "train"):
        scores = evidence.scores.get(split, {})
        names = [name for name in scores if name != "loss" and not math.isnan(number(scores[name].get("value")))]
        if names or "loss" in scores:
            name = next((name for name in names if name in OF_OUTPUTS), (names or ["loss"])[0])
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


def _costs(evidence: Evidence) -> list[tuple[str, str, str]]:
    """What the diagnosis took; where there is a diary, what all its rounds and their proofs took."""
    turns = mappings(evidence.diary.get("rounds"))
    rounds = [mapping(turn.get(kind)) for turn in turns for kind in ("cost", "race_cost")]
    if any(rounds):
        costs = [*rounds, *(mapping(proof.get("cost")) for proof in evidence.proofs)]
        runs, seconds = (sum(_known(cost.get(key)) for cost in costs) for key in ("runs", "seconds"))
        return [("Diagnoses and proofs", duration(seconds), f"{quantity(runs, 0)} runs")]
    cost = mapping(evidence.finding.get("cost"))
    return [("Diagnosis", duration(cost.get("seconds")), _cost(cost))] if cost else []


def _known(value: Any) -> float:
    found = number(value)
    return found if found == found else 0.0


def _cost(cost: dict[str, Any]) -> str:
    runs, times = number(cost.get("runs")), number(cost.get("times"))
    if runs == 0:
        return "no run but this one"
    beside = f", {quantity(times, 1)} times one training" if times == times else ""
    return f"{quantity(runs, 0)} {'run' if runs == 1 else 'runs'}{beside}"


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
    run = evidence.run
    if number(run.get("epochs")) > 0:
        best = number(run.get("best_epoch"))
        tiles.append(("Epochs", quantity(run["epochs"], 0), f"best: {best:.0f}" if best > 0 else ""))
        tiles.append(("Training", duration(run.get("seconds")), ""))
    return [*tiles, *_costs(evidence)]
