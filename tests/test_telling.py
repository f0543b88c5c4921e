"""What findings, proofs and improvements print is what the command line shows; their repr is short and exact."""

from pathlib import Path

import pytest

import thalweg
from thalweg.cli import main
from thalweg.diagnosis import Cause, Cost, Score
from thalweg.diagnosis.finding import Arm, Experiment, Finding
from thalweg.diagnosis.flaw import Flaw
from thalweg.diagnosis.mechanism import Mechanism
from thalweg.remedy import Improvement, Proof, Remedy, Round


def remedy(name: str = "4 x as wide") -> Remedy:
    return Remedy(name, Cause.MODEL_BIAS, lambda recipe: recipe.but(epochs=9))


def proof(after: float = 0.5) -> Proof:
    pairs = tuple((seed, 1.0, after) for seed in range(5))
    return Proof(remedy(), "validation loss", pairs, Score(1 - after, 0.9 - after, 1.1 - after), 1 / 32, Cost())


def finding() -> Finding:
    asked = Experiment("Is it too small?", "train loss", Arm("as it is", (), Score(1.0), (0,)), (), "yes", "It falls.")
    flaw = Flaw(Cause.DATA, Mechanism.A_RARE_CLASS, "Class 3 has 2 examples", 2.0, "more", "Collect more", "more of it")
    return Finding(
        Cause.MODEL_BIAS,
        "wider goes <all> of the way",
        losses={"train": Score(0.5, 0.4, 0.6)},
        experiments=(asked,),
        remedies=(remedy(), remedy("deeper")),
        cost=Cost(3, 2.0, 1.5),
        flaws=(flaw,),
        would_decide="more data",
    )


def test_a_finding_prints_as_the_command_line_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    seen = []

    def kept(*arguments: object, **options: object) -> Finding:
        seen.append(finding())
        return seen[0]

    monkeypatch.setattr("thalweg.remedy.diagnose", kept)
    assert main(["diagnose", "iris", "--set", "epochs=1", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith(f"{seen[0]}\n")  # scores follow


def test_a_finding_prints_all_that_it_knows() -> None:
    assert str(finding()).splitlines() == [
        "MODEL_BIAS  The model is too small or too simple to fit the training data.",
        "Wider goes <all> of the way.",
        "  train      0.5 [0.4, 0.6]",
        "Seen, certain: a rare class. Class 3 has 2 examples.",
        "  To mend it: Collect more.",
        "Is it too small? yes. It falls.",
        "What would decide it: more data",
        "Remedies to try: 4 x as wide; deeper",
        "Beside that training: 3 runs, 1.5 times its price, 2.0 s.",
    ]
    assert "wider goes &lt;all&gt;".capitalize() in finding()._repr_html_()


def test_reprs_are_short_and_exact() -> None:
    assert repr(finding().remedies) == "(Remedy('4 x as wide', MODEL_BIAS), Remedy('deeper', MODEL_BIAS))"
    assert repr(finding().experiments[0]).startswith("Experiment('Is it too small?', 'yes', 0 arms beside Arm(")
    assert repr(finding().flaws) == "(Flaw(DATA, 'a rare class', 2, certain),)"
    told = "validation loss lower by 0.5 [0.4, 0.6], 5 of 5 pairs, p = 0.0312"
    assert repr(proof()) == f"Proof('4 x as wide' helped: {told})"
    assert str(proof()) == f"4 x as wide helped: {told}."
    assert repr(proof(2.0)).startswith("Proof('4 x as wide' did not help: ")


def test_an_improvement_prints_its_rounds_and_scores() -> None:
    recipe = thalweg.cases.get("healthy").but(epochs=1)
    turn = Round(finding(), (proof(2.0), proof()))
    turn = Round(turn.finding, turn.proofs, turn.proofs[1])
    scores = {"loss": (0.691, 0.589, 0.805), "accuracy": (0.811, 0.748, 0.862)}
    nan = float("nan")
    after = {"loss": (123.0, nan, nan), "accuracy": (0.9, 0.85, 0.95)}
    result = Improvement(recipe, thalweg.train(recipe), (turn,), scores, after, "validation", "nothing stands out")
    lines = str(result).splitlines()
    assert lines[0] == "Round 1: MODEL_BIAS  Wider goes <all> of the way."
    assert lines[1].startswith("  no help: 4 x as wide: validation loss lower by -1 [-1.1, -0.9], 0 of 5 pairs")
    assert lines[2].startswith("  adopted: 4 x as wide: validation loss lower by 0.5")
    assert lines[3:] == [
        "Ended: nothing stands out.",
        "3 runs were judged on validation to choose by. On validation:",
        "          before                after",
        "loss      0.7 [0.6, 0.8]        123.0",
        "accuracy  0.811 [0.748, 0.862]  0.900 [0.850, 0.950]",
    ]
    assert repr(result) == "Improvement(MODEL_BIAS; adopted 4 x as wide; nothing stands out)"
    assert repr(turn) == "Round(MODEL_BIAS, 2 proofs, adopted '4 x as wide')"
    diverged = Improvement(recipe, result.run, (turn,), {}, after, "validation", "nothing stands out")
    assert str(diverged).endswith("As it came in, it diverged.")
