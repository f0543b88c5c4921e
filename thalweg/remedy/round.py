"""A round of the circle, as it stands in the diary."""

from dataclasses import dataclass

from thalweg.core.wording import capitalized, counted
from thalweg.diagnosis import Cause, Finding
from thalweg.remedy.proof import Proof
from thalweg.remedy.race import Race


@dataclass(frozen=True)
class Round:
    """One turn of the circle: what was found, what was tried, what was adopted."""

    finding: Finding
    proofs: tuple[Proof, ...] = ()
    adopted: Proof | None = None
    race: Race | None = None
    """How the candidates did before the best of them were put to proof, where there were several."""

    @property
    def looks(self) -> int:
        """How many runs were judged on validation to choose by: of the diagnosis, the race and the proofs."""
        return self.finding.cost.runs + sum(each.cost.runs for each in (self.race, *self.proofs) if each is not None)

    @property
    def why(self) -> str:
        """Why the circle ends with it, where nothing was adopted."""
        if self.finding.mend:
            tried = "no remedy was proved to help, and " if self.proofs else ""
            return f"{tried}it is for you to mend: {self.finding.mend.rstrip('.')}"
        if self.finding.cause is Cause.NONE:
            return "nothing stands out any more"
        if self.finding.cause is Cause.UNDECIDED:
            return "the experiments do not decide what holds it back"
        if self.race is not None and not self.proofs:
            return "no candidate of the race did better than the recipe as it is"
        return "no remedy was proved to help" if self.proofs else "no remedy is known for it"

    def __str__(self) -> str:
        lines = [f"{self.finding.cause}  {capitalized(self.finding.mechanism)}."]
        lines += [] if self.race is None else [f"  raced: {self.race.sentence}"]
        for proof in self.proofs:
            mark, name = ("adopted", proof.kept.name) if proof is self.adopted else ("no help", proof.remedy.name)
            lines.append(f"  {mark}: {name}: {proof.sentence}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        adopted = "nothing" if self.adopted is None else repr(self.adopted.kept.name)
        return f"Round({self.finding.cause}, {counted(len(self.proofs), 'proof')}, adopted {adopted})"
