"""improve: diagnose, prove a remedy, adopt it, and again, until nothing stands out or the budget is spent.

The test split is halved once: one half shows a mismatch, the other is read once, at the end, for the recipe that came
in and the recipe that goes out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.source import Splits
from thalweg.diagnosis import Cause, Finding
from thalweg.diagnosis.laboratory import halves, open_indexed
from thalweg.remedy.door import diagnose
from thalweg.remedy.proof import Proof, prove
from thalweg.training import Outcome, Recipe, Run, RunFolder, evaluate, train

Say = Callable[[str], None]


@dataclass(frozen=True)
class Round:
    """One turn of the circle: what was found, what was tried, what was adopted."""

    finding: Finding
    proofs: tuple[Proof, ...]
    adopted: Proof | None


@dataclass(frozen=True)
class Improvement:
    """The recipe that came out, its run, and the diary: every round with what helped and what did not.

    `before` and `after` are the scores of the first and the last recipe on the half of the test split that nothing else
    has read (on validation where there is no test split).
    """

    recipe: Recipe
    run: Run
    diary: tuple[Round, ...]
    before: dict[str, tuple[float, float, float]]
    after: dict[str, tuple[float, float, float]]
    ended: str

    @property
    def finding(self) -> Finding:
        """The last finding."""
        return self.diary[-1].finding

    @property
    def proofs(self) -> list[Proof]:
        """Every proof, adopted or not."""
        return [proof for turn in self.diary for proof in turn.proofs]


@no_type_check
def improve(
    recipe: Recipe,
    *,
    budget: float = 200.0,
    rounds: int = 4,
    out: RunFolder | None = None,
    device: str | torch.device = "auto",
    say: Say | None = None,
    settle: Callable[[Recipe], Recipe] | None = None,
) -> Improvement:
    """Diagnose a recipe, prove remedies on paired seeds, adopt what helps, and go round until nothing stands out.

    `budget` is in multiples of one training of the recipe, diagnoses and proofs together; at most `rounds` times. `say`
    is told what is going on; `settle` has the last word on the recipe that comes out, before its closing run.

    >>> import thalweg
    >>> result = thalweg.improve(thalweg.cases.get("rate-too-low"), rounds=2)
    >>> [turn.finding.cause.name for turn in result.diary]
    ['OPTIMIZATION', 'NONE']
    >>> result.after["accuracy"][0] > result.before["accuracy"][0] + 0.5
    True
    """
    if rounds < 1:
        raise RecipeError(f"rounds={rounds}, but the circle goes round at least once.")
    tell = say or (lambda text: None)
    start, spent, ended = recipe, 0.0, "the rounds are over"
    diary: list[Round] = []
    for number in range(1, rounds + 1):
        tell(f"round {number}: diagnosing")
        known = diary[-1].finding.reference if diary else None
        finding = diagnose(recipe, budget=min(20.0, budget - spent), device=device, progress=tell, reference=known)
        spent += finding.cost.times
        tell(f"round {number}: {finding.cause}: {finding.mechanism}")
        turn = _treated(recipe, finding, budget - spent, device, tell)
        spent += sum(proof.cost.times for proof in turn.proofs)
        diary.append(turn)
        if turn.adopted is None:
            ended = _why(finding, turn)
            break
        recipe = turn.adopted.remedy(recipe)
        if spent >= budget:
            ended = "the budget is spent"
            break
    return _closed(start, recipe, tuple(diary), ended, out, device, settle)


def _treated(recipe: Recipe, finding: Finding, budget: float, device: str | torch.device, tell: Say) -> Round:
    """Remedies proved one after another, until one helps."""
    proofs: list[Proof] = []
    for remedy in finding.remedies:
        if sum(proof.cost.times for proof in proofs) >= budget:
            break
        tell(f"proving: {remedy.name}")
        proof = prove(recipe, remedy, device=device)
        proofs.append(proof)
        tell(f"{remedy.name}: {'helps' if proof.helped else 'does not help'}, {proof.measure} lower by {proof.effect}")
        if proof.helped:
            return Round(finding, tuple(proofs), proof)
    return Round(finding, tuple(proofs), None)


def _why(finding: Finding, turn: Round) -> str:
    if finding.cause is Cause.NONE:
        return "nothing stands out any more"
    if finding.cause is Cause.UNDECIDED:
        return "the experiments do not decide what holds it back"
    return "no remedy was proved to help" if turn.proofs else "the budget is spent"


def _closed(
    start: Recipe,
    recipe: Recipe,
    diary: tuple[Round, ...],
    ended: str,
    out: RunFolder | None,
    device: str | torch.device,
    settle: Callable[[Recipe], Recipe] | None,
) -> Improvement:
    """The closing runs, and the final half of the test split, read once."""
    final: Any = start.data.validation
    if start.data.test is not None:
        final = halves(open_indexed(start, start.data.test, "test"))[1]
        recipe = recipe.but(data=Splits(recipe.data.train, recipe.data.validation, final))
    recipe = recipe if settle is None else settle(recipe)
    first = train(start, device=device)
    run = train(recipe, out=out, device=device)
    if out is not None:
        out.keep_recipe(recipe)
    before = evaluate(first, final, device=resolve_device(device)) if first.status is not Outcome.DIVERGED else {}
    return Improvement(recipe, run, diary, before, evaluate(run, final, device=resolve_device(device)), ended)
