"""The circle: diagnose, race what may help, prove the best of it, adopt, and again, within a budget."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil, inf
from time import monotonic
from typing import Any

import torch

from thalweg.core.convert import Batching, as_source
from thalweg.core.notices import notice
from thalweg.core.source import Indexed
from thalweg.diagnosis import Budget, Cause, Cost, Finding, Interrupted, Progress, Stage
from thalweg.diagnosis.growth import runs
from thalweg.diagnosis.halving import splittable
from thalweg.diagnosis.laboratory import first_batch, open_indexed
from thalweg.diagnosis.work import work
from thalweg.remedy.bench import Controls, Unchanged
from thalweg.remedy.door import diagnose
from thalweg.remedy.images import beyond_references, shows_images
from thalweg.remedy.proof import Proof
from thalweg.remedy.prove import FRESH, PAIRS, prove
from thalweg.remedy.race import MOST, PROVED, Entry, judged_as_one, price_of_race, race
from thalweg.remedy.remedy import Remedy
from thalweg.remedy.repairing import REJUDGED, judged_rightly
from thalweg.remedy.round import Round
from thalweg.remedy.sign_flips import pairs_for
from thalweg.training import Recipe
from thalweg.training.kept_runs import seconds_kept

DIAGNOSIS = 20.0
"""What one diagnosis may cost at most, in multiples of one training of its recipe."""
PROOF, HELD_BACK = 2.0 * PAIRS, 1 / 3
"""Trainings that a diagnosis leaves for a proof after it, the fewest that one takes; of time it leaves this share."""
ENOUGH = DIAGNOSIS + 3.0 * pairs_for(PROVED)
"""Trainings that hold a diagnosis and a proof with a random change beside it."""
BEYOND = (Cause.OVERFITTING, Cause.NONE, Cause.UNDECIDED)
"""Causes beyond which a network of images may gain; what is wired wrongly or badly labelled is mended first."""
ROUND = 100
"""The seeds of one round's proofs lie so far from those of the next: what some have adopted is tried on others."""


Keep = Callable[[tuple[Round, ...]], None]


def always(recipe: Recipe) -> bool:
    """Any recipe may be adopted."""
    return True


@dataclass
class Circle:
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
    allows: Callable[[Recipe], bool] = always
    """Whether a changed recipe may be adopted: one that settings are to say has to be sayable."""
    begun: int = 0
    """How many rounds an earlier attempt has begun, whose runs are kept."""
    read: int = 0
    """How often a test split was read that is too small to be halved."""
    units_of: Recipe | None = None
    controls: Controls = field(default_factory=Controls)
    """The runs without a remedy, which the proofs of a round share."""
    units: dict[str, Entry] = field(default_factory=dict)
    """What one training costs, and its epochs, with a remedy, by its name, of the recipe `units_of`."""
    kept_judges: dict[str, bool] = field(default_factory=dict)
    """Whether what judges that recipe can judge it with a remedy too."""

    def __post_init__(self) -> None:
        test = None if self.start.data.test is None else opened_test(self.start)
        self.halved = test is None or not isinstance(test, Indexed) or splittable(test)
        self.whole = not self.halved

    @property
    def spent_seconds(self) -> float:
        """The time so far, with that of the runs which were trained before an interrupt."""
        return monotonic() - self.began + seconds_kept()

    @property
    def left(self) -> Budget:
        """What is left of the budget."""
        return self.budget.less(replace(self.cost, seconds=self.spent_seconds))

    def turned(self, rounds: int) -> str:
        """Go round; says why it ended."""
        if self.budget.times < PROOF:
            notice(
                f"{self.budget} holds a diagnosis, but no proof: each trains {PROOF:g} times at least, so that nothing "
                f"can be adopted. A budget of {ENOUGH:g} would do."
            )
        for number in range(1, rounds + 1):
            self.progress(Stage(f"round {number}: {self.begins(number)}"))
            finding = self.diagnosed()
            self.diary.append(Round(finding))
            self.keep(tuple(self.diary))
            self.progress(Stage(f"round {number}: {finding.cause}: {finding.mechanism}"))
            waits = self.treated()
            turn = self.diary[-1]
            if turn.adopted is None:
                over = self.left.spent and finding.cause is not Cause.NONE
                return waits or ("the budget is spent" if over else turn.why)
            self.recipe = turn.adopted.kept(self.recipe)
            self.unit = self.unit_of(self.recipe)
            if self.left.spent:
                return "the budget is spent"
        return "the rounds are over"

    def begins(self, number: int) -> str:
        """What is said of a round that begins: after an interrupt those before it are found again, and it goes on."""
        if number < self.begun:
            return "found again in the runs that are kept"
        return "going on from the runs that are kept" if number == self.begun else "diagnosing"

    def diagnosed(self) -> Finding:
        """The next finding; interrupted it keeps what it has. Test data that are not halved are asked once."""
        asks = not self.diary or self.halved
        self.read += asks and self.whole
        try:
            finding = diagnose(
                self.recipe,
                budget=self.of_diagnosis(),
                device=self.device,
                progress=self.tell,
                test=asks,
                reference=self.diary[-1].finding.reference if self.diary else None,
            )
        except Interrupted as interrupt:
            self.keep((*self.diary, Round(interrupt.finding)))
            raise
        self.spend(finding.cost)
        return finding

    def of_diagnosis(self) -> Budget:
        """What a diagnosis may cost: a proof's price is held back, where more than that is left."""
        left = self.left
        times = left.times / self.unit
        times = min(DIAGNOSIS, times - PROOF if times > PROOF else times)
        return Budget(times, left.seconds * (1 - HELD_BACK))

    def holds(self, times: float) -> bool:
        """Whether the budget still holds so many trainings."""
        return self.left.holds(times, self.seconds(times))

    def provable(self, remedies: list[Remedy]) -> list[Remedy]:
        """The remedies of which the first can be proved within the budget: each more asks for more pairs.

        Those that are too dear even alone are left out, unless all are.
        """
        alone = [remedy for remedy in remedies if self.holds(self.price(remedy, PAIRS))]
        while len(alone) > 1 and not self.holds(self.price(alone[0], max(PAIRS, pairs_for(len(alone))))):
            alone.pop()
        return alone or remedies

    def treated(self) -> str | None:
        """Prove the remedies of the last finding one after another until one helps; says what kept it from one."""
        finding, dear = self.diary[-1].finding, None
        known = [remedy for remedy in finding.remedies if not self.has(remedy)]
        remedies = self.provable(self.raced([remedy for remedy in known if self.allows(remedy(self.recipe))]))
        for remedy in remedies:
            pairs = max(PAIRS, pairs_for(len(remedies)))
            prices = [(self.price(remedy, pairs, random), random) for random in (True, False)]
            held = [pair for pair in prices if self.holds(pair[0])]
            if not held:
                dear = dear or self.too_dear(remedy, prices[-1][0])
                continue
            try:
                proof = self.proved(remedy, pairs, len(remedies), *held[0])
            except Unchanged:  # of what a laboratory holds, which is less than the recipe
                continue
            if proof.helped:
                return None
        return dear

    def too_dear(self, remedy: Remedy, price: float) -> str:
        """That no proof of a remedy can be paid for any more, and which budget would have held it.

        Of a larger budget the diagnosis takes more, up to its own bound: a proof is held where that leaves its price.
        """
        says = f"what is left of the budget does not hold the {price:.3g} trainings that proving '{remedy.name}' costs"
        if self.budget.times < inf:
            more = self.unit * max(0.0, DIAGNOSIS - self.diary[-1].finding.cost.times)
            return f"{says}: a budget of {max(ceil(ENOUGH), ceil(self.cost.times + more + price))} would"
        took = self.seconds(price)
        if took is None:
            return says
        return f"{says}: a budget of {ceil(max(self.spent_seconds + took, took / HELD_BACK))} s would"

    def proved(self, remedy: Remedy, pairs: int, candidates: int, price: float, random: bool) -> Proof:
        """Put a remedy to proof, and write down what came of it."""
        cost = f"proving: {remedy.name}, for {price / self.unit:.3g} trainings at most"
        self.progress(Stage(cost, self.seconds(price)))
        turn = self.diary[-1]
        proof = prove(
            self.recipe,
            remedy,
            pairs=pairs,
            random=random,
            candidates=candidates,
            raced=turn.race is not None,
            first_seed=self.first_seed,
            controls=self.controls,
            device=self.device,
            progress=self.tell,
        )
        self.spend(proof.cost)
        self.read += remedy.cause is Cause.MISMATCH and self.whole
        self.diary[-1] = replace(turn, proofs=(*turn.proofs, proof), adopted=proof if proof.helped else None)
        self.keep(tuple(self.diary))
        says = "helps" if proof.helped else "does not help"
        self.progress(Stage(f"{remedy.name}: {says}: {proof.sentence}"))
        return proof

    def raced(self, remedies: list[Remedy]) -> list[Remedy]:
        """The remedies to prove: the best of a race, where there are more than are proved and a race is cheaper.

        Of a network that reads images what may help beyond the references joins them, for these read images badly; what
        is lost in training is left to the experiments, whose arms are the remedies. What would change nothing does not
        run.
        """
        finding = self.diary[-1].finding
        batch = first_batch(open_indexed(self.recipe, self.recipe.data.train, "train"))
        beyond = finding.cause in BEYOND and shows_images(batch)
        known = {part for remedy in remedies for part in remedy.parts}
        further = beyond_references(batch) if beyond else ()
        more = [one for one in further if not self.has(one) and not known & set(one.parts)]
        changes = [
            one
            for one in more
            if (changed := one(self.recipe)) is not self.recipe and self.allows(changed) and runs(changed, batch)
        ]
        candidates, price = self.affordable([*remedies, *changes][:MOST])
        if len(candidates) < 2 or (len(candidates) <= PROVED and not beyond):
            return candidates or remedies
        if judged_as_one(self.recipe, candidates) is None:
            return candidates
        dearest = sorted((self.price(one, PAIRS + 1) for one in candidates), reverse=True)
        if not beyond and price + sum(dearest[:PROVED]) >= sum(
            self.price(o, pairs_for(len(candidates))) for o in candidates
        ):
            return candidates
        told = f"a race of {len(candidates)} candidates, for {price / self.unit:.3g} trainings at most"
        self.progress(Stage(told, self.seconds(price)))
        result = race(self.recipe, candidates, self.device, self.tell, number=len(self.diary) - 1)
        self.spend(result.cost)
        self.read += any(remedy.cause is Cause.MISMATCH for remedy in candidates) and self.whole
        self.diary[-1] = replace(self.diary[-1], race=result)
        self.keep(tuple(self.diary))
        self.progress(Stage(f"the race: {result.sentence}"))
        return result.ahead[:PROVED]

    def affordable(self, candidates: list[Remedy]) -> tuple[list[Remedy], float]:
        """As many of the candidates as the budget holds a race of, and the price of that race.

        The proof of any of them is held back. The first, for which most speaks, stays; else the dearest goes, of equal
        ones the last.
        """
        candidates = [remedy for remedy in candidates if self.holds(self.price(remedy, PAIRS))]
        while candidates:
            price = price_of_race([self.entry(remedy) for remedy in candidates], (self.unit, self.recipe.epochs))
            pairs = max(PAIRS, pairs_for(min(PROVED, len(candidates))))
            proof = max(self.price(remedy, pairs) for remedy in candidates)
            if len(candidates) == 1 or self.holds(price + proof):
                return candidates, price
            dearest = max(reversed(candidates[1:]), key=self.unit_with)
            candidates = [remedy for remedy in candidates if remedy is not dearest]
        return [], 0.0

    def unit_of(self, recipe: Recipe) -> float:
        """One training of a recipe in multiples of one of the recipe that came in."""
        return work(recipe) / max(work(self.start), 1.0)

    def unit_with(self, remedy: Remedy) -> float:
        """The same of the recipe now with a remedy."""
        return self.entry(remedy)[0]

    def entry(self, remedy: Remedy) -> Entry:
        """That and its epochs: the recipe is made once, for some remedies look long at the data."""
        if self.units_of is not self.recipe:
            self.units_of, self.units, self.kept_judges = self.recipe, {}, {}
        if remedy.name not in self.units:
            treated = remedy(self.recipe)
            self.units[remedy.name] = self.unit_of(treated), treated.epochs
            self.kept_judges[remedy.name] = (
                remedy.cause not in REJUDGED or judged_rightly(self.recipe, treated) is self.recipe
            )
        return self.units[remedy.name]

    def judges(self, remedy: Remedy) -> bool:
        """Whether the recipe is judged as it is with a remedy too, so that its proof shares the runs without it."""
        self.entry(remedy)
        return self.kept_judges[remedy.name]

    def has(self, remedy: Remedy) -> bool:
        """Whether a part of a remedy was adopted before, which would only be put on top of itself."""
        adopted = {part for turn in self.diary if turn.adopted is not None for part in turn.adopted.kept.parts}
        return remedy.cause in (Cause.OVERFITTING, Cause.MISMATCH) and bool(adopted & set(remedy.parts))

    @property
    def rewired(self) -> bool:
        """Whether a repair of the wiring was adopted, which may be one of the loss."""
        return any(turn.adopted is not None and turn.adopted.kept.cause is Cause.WIRING for turn in self.diary)

    def price(self, remedy: Remedy, pairs: int, random: bool = False) -> float:
        """What its proof costs at most, in the same multiples: what an earlier proof has trained is there already."""
        treated = self.unit_with(remedy)
        parts = sum(self.unit_with(remedy.without(step)) for step in remedy.steps)
        seeds = range(self.first_seed, self.first_seed + pairs)
        known = self.controls.known(self.recipe, seeds) if self.judges(remedy) else 0
        return (pairs - known) * self.unit + pairs * (treated * (2 if random else 1) + parts)

    @property
    def first_seed(self) -> int:
        """The first seed of the proofs of this round, which none of another round has."""
        return self.recipe.seed + FRESH + ROUND * (len(self.diary) - 1)

    def seconds(self, times: float) -> float | None:
        """About how long so many trainings take, at the pace so far."""
        took = self.cost.seconds - self.cost.aside
        return times * took / self.cost.times if self.cost.times else None

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


def opened_test(recipe: Recipe) -> Any:
    """The test split of a recipe as a source."""
    return as_source(recipe.data.test, "test", Batching(recipe.batch_size, recipe.collate))
