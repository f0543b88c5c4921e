"""improve: diagnose, prove a remedy, adopt it, and again, until nothing stands out or the budget is spent.

The test split is halved once: one half shows a mismatch, the other is read once, at the end, for the recipe that came
in and the recipe that goes out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import torch

from thalweg.core.convert import Batching, as_source
from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.notices import collecting, notice
from thalweg.core.source import Indexed, Splits
from thalweg.diagnosis import Budget, Cause, Cost, Finding, Interrupted, Planned, Progress, Stage, plan
from thalweg.diagnosis.growth import runs
from thalweg.diagnosis.laboratory import first_batch, halves, open_indexed
from thalweg.diagnosis.work import work
from thalweg.remedy.door import diagnose
from thalweg.remedy.images import beyond_references, shows_images
from thalweg.remedy.proof import Proof
from thalweg.remedy.prove import PAIRS, prove
from thalweg.remedy.race import Race, race
from thalweg.remedy.remedy import Remedy
from thalweg.remedy.sign_flips import pairs_for
from thalweg.training import Outcome, Recipe, Run, RunFolder, evaluate, train

DIAGNOSIS = 20.0
"""What one diagnosis may cost at most, in multiples of one training of its recipe."""
UNREAD = "the half of the test data that nothing else has read"
PROVED = 2
"""So many of those that are ahead in a race are put to proof: each more needs more pairs."""
RACED = (Cause.OVERFITTING, Cause.NONE, Cause.UNDECIDED)
"""Causes beyond which a network of images may gain; what is wired wrongly or badly labelled is mended first."""
CLOSING = 2
"""Runs at the end: the recipe that came in and the one that goes out."""


@dataclass(frozen=True)
class Round:
    """One turn of the circle: what was found, what was tried, what was adopted."""

    finding: Finding
    proofs: tuple[Proof, ...] = ()
    adopted: Proof | None = None
    race: Race | None = None
    """How the candidates did before the best of them were put to proof, where there were several."""


Keep = Callable[[tuple[Round, ...]], None]


@dataclass(frozen=True)
class Improvement:
    """The recipe that came out, its run, and the diary: every round with what helped and what did not.

    `before` and `after` are the scores of the first and the last recipe; `judged_on` says on which data: the half of
    the test split that nothing else has read, else validation, which was also chosen by, else none.
    """

    recipe: Recipe
    run: Run
    diary: tuple[Round, ...]
    before: dict[str, tuple[float, float, float]]
    after: dict[str, tuple[float, float, float]]
    judged_on: str
    ended: str
    cost: Cost = field(default_factory=Cost)

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
    budget: float | str | Budget = 200.0,
    rounds: int = 6,
    out: RunFolder | None = None,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
    keep: Keep | None = None,
    settle: Callable[[Recipe], Recipe] | None = None,
) -> Improvement:
    """Diagnose a recipe, prove remedies on paired seeds, adopt what helps, and go round until nothing stands out.

    `budget` is in multiples of one training of the recipe that came in, diagnoses and proofs together, or a time
    ("10m"); the circle goes round at most `rounds` times. `progress` is told of every stage, with the time that it
    takes; `keep` is given the diary after every finding and proof, so that an interrupt loses nothing; `settle` has the
    last word on the recipe that comes out, before its closing run.

    >>> import thalweg
    >>> slow = thalweg.load("iris", assignments=["epochs=15", "optimizer.lr=1e-5"])
    >>> result = thalweg.improve(slow, rounds=1)
    >>> [turn.finding.cause.name for turn in result.diary]
    ['OPTIMIZATION']
    >>> result.after["accuracy"][0] > result.before["accuracy"][0] + 0.3
    True
    """
    if rounds < 1:
        raise RecipeError(f"rounds={rounds}, but the circle goes round at least once.")
    circle = _Circle(
        recipe,
        recipe,
        Budget.of(budget),
        device,
        progress or (lambda stage: None),
        keep or (lambda diary: None),
    )
    with collecting():  # what every round would say again is said once
        final = circle.final()
        return circle.closed(circle.turned(rounds), final, out, settle)


@dataclass
class _Circle:
    """The recipe as it came in and as it is now, what may be spent and what was, and the diary so far.

    Costs are in multiples of one training of the recipe that came in; `unit` is what one of the recipe now costs.
    """

    start: Recipe
    recipe: Recipe
    budget: Budget
    device: str | torch.device
    progress: Progress
    keep: Keep
    diary: list[Round] = field(default_factory=list)
    unit: float = 1.0
    cost: Cost = field(default_factory=Cost)
    began: float = field(default_factory=monotonic)

    @property
    def left(self) -> Budget:
        """What is left of the budget."""
        return self.budget.less(replace(self.cost, seconds=monotonic() - self.began))

    def turned(self, rounds: int) -> str:
        """Go round; says why it ended."""
        for number in range(1, rounds + 1):
            self.progress(Stage(f"round {number}: diagnosing"))
            finding = self.diagnosed()
            self.diary.append(Round(finding))
            self.keep(tuple(self.diary))
            self.progress(Stage(f"round {number}: {finding.cause}: {finding.mechanism}"))
            waits = self.treated()
            turn = self.diary[-1]
            if turn.adopted is None:
                return waits or _why(turn)
            self.recipe = turn.adopted.remedy(self.recipe)
            self.unit = self.unit_of(self.recipe)
            if self.left.spent:
                return "the budget is spent"
        return "the rounds are over"

    def diagnosed(self) -> Finding:
        """The next finding; what an interrupted one has found is kept."""
        left = self.left
        try:
            finding = diagnose(
                self.recipe,
                budget=Budget(min(DIAGNOSIS, left.times / self.unit), left.seconds),
                device=self.device,
                progress=self.tell,
                reference=self.diary[-1].finding.reference if self.diary else None,
            )
        except Interrupted as interrupt:
            self.keep((*self.diary, Round(interrupt.finding)))
            raise
        self.spend(finding.cost)
        return finding

    def treated(self) -> str | None:
        """Prove the remedies of the last finding one after another until one helps; says what kept it from one."""
        finding, proofs = self.diary[-1].finding, list[Proof]()
        remedies = self.raced([remedy for remedy in finding.remedies if not self.has(remedy)])
        dear = None
        for remedy in remedies:
            pairs = max(PAIRS, pairs_for(len(remedies)))
            price = self.price(remedy, pairs)
            if not self.left.holds(price, self.seconds(price)):
                dear = dear or f"the budget does not hold the {price:.3g} trainings that proving '{remedy.name}' costs"
                continue
            self.progress(Stage(f"proving: {remedy.name}"))
            proof = prove(
                self.recipe,
                remedy,
                pairs=pairs,
                candidates=len(remedies),
                device=self.device,
                progress=self.tell,
            )
            self.spend(proof.cost)
            proofs.append(proof)
            self.diary[-1] = replace(self.diary[-1], proofs=tuple(proofs), adopted=proof if proof.helped else None)
            self.keep(tuple(self.diary))
            says = "helps" if proof.helped else "does not help"
            self.progress(Stage(f"{remedy.name}: {says}: {proof.sentence}"))
            if proof.helped:
                return None
        return dear

    def raced(self, remedies: list[Remedy]) -> list[Remedy]:
        """The remedies to prove: of a network that reads images the best of a race of these and what may help beyond.

        What already fits as well as reference learners may still gain there, for these read images badly; what is lost
        in training is left to the experiments, whose arms are the remedies. What would change nothing does not run.
        """
        finding = self.diary[-1].finding
        batch = first_batch(open_indexed(self.recipe, self.recipe.data.train, "train"))
        if finding.cause not in RACED or not shows_images(batch):
            return remedies
        known = {part for remedy in remedies for part in remedy.parts}
        more = [one for one in beyond_references(batch) if not self.has(one) and not known & set(one.parts)]
        changes = [one for one in more if (changed := one(self.recipe)) is not self.recipe and runs(changed, batch)]
        candidates, price = self.affordable([*remedies, *changes])
        if len(candidates) < 2:
            return remedies
        self.progress(Stage(f"a race of {len(candidates)} candidates", self.seconds(price)))
        result = race(self.recipe, candidates, self.device, self.tell)
        self.spend(result.cost)
        self.diary[-1] = replace(self.diary[-1], race=result)
        self.keep(tuple(self.diary))
        self.progress(Stage(f"the race: {result.sentence}"))
        return result.ahead[:PROVED]

    def affordable(self, candidates: list[Remedy]) -> tuple[list[Remedy], float]:
        """As many of the candidates as the budget holds a race of, the dearest left out, and the price of that race."""
        prices = {remedy.name: self.unit_of(remedy(self.recipe)) for remedy in candidates}
        while True:
            price = self.unit + sum(prices[remedy.name] for remedy in candidates)
            if not candidates or self.left.holds(price, self.seconds(price)):
                return candidates, price
            dearest = max(candidates, key=lambda remedy: prices[remedy.name])
            candidates = [remedy for remedy in candidates if remedy is not dearest]

    def unit_of(self, recipe: Recipe) -> float:
        """One training of a recipe in multiples of one of the recipe that came in."""
        return work(recipe) / max(work(self.start), 1.0)

    def has(self, remedy: Remedy) -> bool:
        """Whether a part of a remedy was adopted before, which would only be put on top of itself."""
        adopted = {part for turn in self.diary if turn.adopted is not None for part in turn.adopted.remedy.parts}
        return remedy.cause in (Cause.OVERFITTING, Cause.MISMATCH) and bool(adopted & set(remedy.parts))

    def price(self, remedy: Remedy, pairs: int) -> float:
        """What its proof costs, in the same multiples."""
        return pairs * (self.unit + self.unit_of(remedy(self.recipe)))

    def seconds(self, times: float) -> float | None:
        """About how long so many trainings take, at the pace so far."""
        return times * self.cost.seconds / self.cost.times if self.cost.times else None

    def spend(self, cost: Cost) -> None:
        """Count what is in multiples of one training of the recipe now."""
        self.cost += replace(cost, times=cost.times * self.unit)

    def tell(self, stage: Stage) -> None:
        """Tell of a stage, with the time that the whole circle may still take."""
        left, closing = self.left, self.seconds(1.0 + self.unit)
        if closing is not None:
            known = [seconds for seconds in (self.seconds(left.times), left.seconds) if seconds is not None]
            stage = replace(stage, left=min(known) + closing)
        self.progress(stage)

    def closed(
        self,
        ended: str,
        judging: tuple[Any, str],
        out: RunFolder | None,
        settle: Callable[[Recipe], Recipe] | None,
    ) -> Improvement:
        """The closing runs, and the final half of the test split, read once."""
        start, recipe = self.start, self.recipe
        final, judged_on = judging
        if judged_on == UNREAD:
            recipe = recipe.but(data=Splits(recipe.data.train, recipe.data.validation, final))
        recipe = recipe if settle is None else settle(recipe)
        self.progress(Stage("the closing runs: as it came in, and as it goes out"))
        first = _to_its_end(train(start, device=self.device))
        if out is not None:
            out.keep_recipe(recipe)
        run = _to_its_end(train(recipe, out=out, device=self.device))
        device = resolve_device(self.device)
        before, after = (
            {} if final is None or not run.status.good else evaluate(run, final, device=device) for run in (first, run)
        )
        cost = replace(self.cost, runs=self.cost.runs + CLOSING, seconds=monotonic() - self.began)
        return Improvement(recipe, run, tuple(self.diary), before, after, judged_on, ended, cost)

    def final(self) -> tuple[Any, str]:
        """The data for the scores at the end, and what they are; a stream of test data has no half to leave unread."""
        if self.start.data.test is not None:
            batching = Batching(self.start.batch_size, self.start.collate)
            test = as_source(self.start.data.test, "test", batching)
            if isinstance(test, Indexed):
                return halves(test)[1], UNREAD
            notice("The test split is a stream, which the diagnosis reads whole: no half of it is left to judge by.")
        if self.start.data.validation is not None:
            return self.start.data.validation, "the validation data, by which it was also chosen"
        return None, "no data: there is neither a test nor a validation split"


def plan_of_improvement(
    recipe: Recipe, device: str | torch.device = "auto", budget: float | str | Budget = DIAGNOSIS
) -> list[Planned]:
    """What a round of the circle may cost, the arms of a diagnosis and a proof, and the closing runs, which come once.

    >>> import thalweg
    >>> plan_of_improvement(thalweg.cases.get("healthy"))[-1].arm
    'the closing runs'
    """
    allowed = Budget.of(budget)
    arms = plan(recipe, device, replace(allowed, times=min(DIAGNOSIS, allowed.times)))
    proof = ("Does the remedy help, on paired seeds?", f"{PAIRS} pairs of runs", 2.0 * PAIRS)
    closing = ("What came of it, on data that nothing else has read?", "the closing runs", float(CLOSING))
    one = arms[0].seconds
    return arms + [Planned(*item, None if one is None else one * item[-1]) for item in (proof, closing)]


def _to_its_end(run: Run) -> Run:
    """The run, unless it was interrupted."""
    if run.status is Outcome.INTERRUPTED:
        raise run.error or KeyboardInterrupt
    return run


def _why(turn: Round) -> str:
    if turn.finding.cured:
        return f"nothing is left to treat: {turn.finding.cured}"
    if turn.finding.mend:
        return f"it is for you to mend: {turn.finding.mend.rstrip('.')}"
    if turn.finding.cause is Cause.NONE:
        return "nothing stands out any more"
    if turn.finding.cause is Cause.UNDECIDED:
        return "the experiments do not decide what holds it back"
    return "no remedy was proved to help" if turn.proofs else "no remedy is known for it"
