"""Proof: what paired runs with and without a remedy show, as a value."""

from dataclasses import asdict, dataclass
from math import isinf, isnan
from typing import Any

from thalweg.core.wording import preformatted
from thalweg.diagnosis import Cost, Score
from thalweg.remedy.remedy import Remedy
from thalweg.remedy.sign_flips import LEVEL

PRICE = 0.25
"""What a remedy for the test data may cost on validation, as a share of what it gains on test."""
Pairs = tuple[tuple[int, float, float], ...]
"""Seed, loss without, loss with; infinite for a run without a finite one."""


@dataclass(frozen=True)
class Beside:
    """A random change that cost as much as the remedy, on the same seeds: the control of a proof.

    `effect` is how much lower the loss is with it than without, `lead` how much lower it is with the remedy than with
    it, each with Student's interval over the pairs.

    >>> Beside("another seed", (), ((1, 0.5, 0.5),), Score(0.0), 1.0, Score(0.2, 0.1, 0.3)).beaten
    True
    """

    name: str
    change: tuple[str, ...]
    pairs: Pairs
    effect: Score
    p: float
    lead: Score

    @property
    def beaten(self) -> bool:
        """Whether the remedy is better than it beyond noise."""
        return bool(self.lead.low > 0) or isinf(self.lead.value)

    @property
    def sentence(self) -> str:
        """What it did, in a line."""
        told = "no finite loss" if isnan(self.effect.value) else f"lower by {self.effect}"
        end = "" if self.beaten else ", and the remedy is no better than that beyond noise"
        return f"a random change at the same cost ({self.name}): {told}{end}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "change": list(self.change),
            "pairs": pairs_to_json(self.pairs),
            "effect": asdict(self.effect),
            "p": self.p,
            "lead": asdict(self.lead),
            "beaten": self.beaten,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Part:
    """A part of a remedy that was left out: how much higher the loss is without it, on the same seeds.

    >>> Part("noise on the inputs", ((1, 0.5, 0.5),), Score(0.0, -0.1, 0.1), False).sentence
    'noise on the inputs does not pay: without it higher by 0 [-0.1, 0.1]'
    """

    name: str
    pairs: Pairs
    """Seed, loss without the part, loss with it."""
    rise: Score
    pays: bool
    price: float = 0.0
    """How much higher the validation loss is with the rest, where that is measured on test, than without the remedy."""

    @property
    def sentence(self) -> str:
        """What it is worth, in a line."""
        higher = "no finite loss" if isnan(self.rise.value) else f"higher by {self.rise}"
        return f"{self.name} {'pays' if self.pays else 'does not pay'}: without it {higher}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "pairs": pairs_to_json(self.pairs),
            "rise": asdict(self.rise),
            "pays": self.pays,
            "price": self.price,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Proof:
    """Paired runs with and without a remedy: how much lower the loss is with it, and whether that is beyond chance.

    `pairs` holds (seed, loss without, loss with), infinite for a run without a finite one; `effect` is the mean
    difference of the pairs where both are finite, positive where the remedy helps, with Student's interval. `price` is
    how much higher the validation loss is with a remedy that is measured on test. `planned` is how many pairs were
    meant: fewer were trained where these could no longer reach the level. `random` is the control: a random change that
    cost as much. `folds` says of how many folds of the train split each pair had its own; 0 where all pairs were judged
    by the validation examples. `parts` says what each part of a composed remedy is worth; `kept` is the remedy without
    those that do not pay, which is the one to adopt.

    >>> from thalweg.diagnosis import Cause
    >>> remedy = Remedy("longer", Cause.OPTIMIZATION, lambda recipe: recipe.but(epochs=60))
    >>> pairs = tuple((seed, 1.0, 0.5 + seed / 100) for seed in range(5))
    >>> Proof(remedy, "validation loss", pairs, Score(0.48, 0.46, 0.5), 1 / 32, Cost())
    Proof('longer' helped: validation loss lower by 0.48 [0.46, 0.5], 5 of 5 pairs, p = 0.0312)
    """

    remedy: Remedy
    measure: str
    pairs: Pairs
    effect: Score
    p: float
    cost: Cost
    change: tuple[str, ...] = ()
    price: float = 0.0
    planned: int = 0
    random: Beside | None = None
    parts: tuple[Part, ...] = ()
    smallest: Remedy | None = None
    folds: int = 0

    @property
    def caution(self) -> str | None:
        """What weakens the p-value: folds share training examples, so that their signs are not independent."""
        if not self.folds:
            return None
        return "folds share training examples, so that p is a guide; the interval is widened for it"

    @property
    def kept(self) -> Remedy:
        """The remedy, without the parts that do not pay."""
        return self.smallest or self.remedy

    @property
    def wins(self) -> int:
        """In how many pairs the loss is lower with the remedy."""
        return sum(after < before for _, before, after in self.pairs)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the effect."""
        return float(self.effect.low), float(self.effect.high)

    @property
    def stopped(self) -> bool:
        """Whether fewer pairs were trained than were meant, because all of them could not have reached the level."""
        return len(self.pairs) < self.planned

    @property
    def helped(self) -> bool:
        """Whether the remedy lowers the loss beyond chance, by the signs and by the interval, at no price elsewhere."""
        return helps(self.p, self.effect) and not too_dear(self.price, self.effect)

    @property
    def sentence(self) -> str:
        """What the pairs show, in a line."""
        ends = [sum(isinf(loss) for loss in losses) for losses in list(zip(*self.pairs, strict=True))[1:]]
        lower = [] if isnan(self.effect.value) else [f"{self.measure} lower by {self.effect}"]
        dear = (
            [f"at the price of {self.price:.3g} on validation"]
            if self.price > max(0.0, PRICE * self.effect.value)
            else []
        )
        diverged = [f"runs without a finite loss: {ends[0]} without it, {ends[1]} with it"] if any(ends) else []
        counted = [f"{self.wins} of {len(self.pairs)} pairs", f"p = {self.p:.3g}"]
        shared = [] if self.caution is None else [self.caution]
        early = [f"stopped there: all of {self.planned} pairs could not reach p <= {LEVEL:g} any more"] * self.stopped
        told = ", ".join([*lower, *dear, *diverged, *counted, *early, *shared])
        return "; ".join(
            [told, *(part.sentence for part in self.parts), *([self.random.sentence] if self.random else [])]
        )

    def __str__(self) -> str:
        return f"{self.remedy.name} {self._verdict}: {self.sentence}."

    def __repr__(self) -> str:
        shown = self.sentence.partition("; ")[0]
        return f"Proof({self.remedy.name!r} {self._verdict}: {shown})"

    def _repr_html_(self) -> str:
        return preformatted(str(self))

    @property
    def _verdict(self) -> str:
        return "helped" if self.helped else "did not help"

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a file of `proofs/` holds them."""
        return {
            "remedy": self.remedy.name,
            "cause": str(self.remedy.cause),
            "change": list(self.change),
            "measure": self.measure,
            "pairs": pairs_to_json(self.pairs),
            "planned": self.planned,
            "folds": self.folds,
            "caution": self.caution,
            "stopped": self.stopped,
            "effect": asdict(self.effect),
            "sentence": self.sentence,
            "price": self.price,
            "wins": self.wins,
            "p": self.p,
            "helped": self.helped,
            "random": None if self.random is None else self.random.to_json(),
            "parts": [part.to_json() for part in self.parts],
            "kept": self.kept.name,
            "cost": asdict(self.cost),
        }


def helps(p: float, effect: Score) -> bool:
    """Whether an effect is beyond chance, by the signs and, where it has one, by its interval.

    >>> helps(1 / 32, Score(0.5, 0.1, 0.9)), helps(1 / 32, Score(0.5, -0.1, 1.1))
    (True, False)
    """
    return bool(p <= LEVEL and not effect.low <= 0)


def too_dear(price: float, effect: Score) -> bool:
    """Whether a remedy for the test data costs more on validation than its effect is worth; not where that is unknown.

    >>> too_dear(0.2, Score(0.5)), too_dear(0.1, Score(0.5)), too_dear(0.2, Score(float("nan")))
    (True, False, False)
    """
    return bool(price > PRICE * effect.value)


def pairs_to_json(pairs: Pairs) -> list[dict[str, Any]]:
    """Pairs as plain values.

    >>> pairs_to_json(((7, 0.5, 0.25),))
    [{'seed': 7, 'without': 0.5, 'with': 0.25}]
    """
    return [{"seed": seed, "without": before, "with": after} for seed, before, after in pairs]
