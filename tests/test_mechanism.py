"""Every mechanism that rules and remedies name is one that a check can find, and its text is what is kept."""

import ast
import json
from dataclasses import asdict
from pathlib import Path

import pytest

import thalweg
from thalweg.diagnosis import Cause
from thalweg.diagnosis.checks.wiring import SHADOWS
from thalweg.diagnosis.flaw import Flaw
from thalweg.diagnosis.mechanism import PREPARED_OTHERWISE, Mechanism
from thalweg.diagnosis.ranking import IN_THE_FLOOR, INVALID
from thalweg.remedy.treatments import BY_FLAW


def test_what_is_compared_is_a_member() -> None:
    named = [*BY_FLAW, *SHADOWS, *(name for names in SHADOWS.values() for name in names), *IN_THE_FLOOR, *INVALID]
    assert all(type(name) is Mechanism for name in named)
    assert len(PREPARED_OTHERWISE) == 8


def test_no_mechanism_is_written_as_text() -> None:
    """Elsewhere than in its enum no text of the diagnosis or the remedies is the name of a mechanism."""
    texts = set(map(str, Mechanism)) - {"plateau"}
    package = Path(thalweg.__file__).parent
    files = [*package.glob("diagnosis/**/*.py"), *package.glob("remedy/*.py")]
    found = [
        (file.name, node.value)
        for file in files
        if file.name != "mechanism.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in texts
    ]
    assert found == []


def test_its_text_is_kept_and_printed() -> None:
    flaw = Flaw(Cause.WIRING, Mechanism.LABELS_OUTSIDE_OF_0_1, "It is", 1.0, "", "Mend it", "")
    assert json.loads(json.dumps(flaw.to_json()))["mechanism"] == "labels outside of [0, 1]"
    assert type(flaw.to_json()["mechanism"]) is str
    assert json.dumps(asdict(flaw)["mechanism"]) == '"labels outside of [0, 1]"'
    assert str(flaw).startswith("labels outside of [0, 1]. It is.")
    with pytest.raises(ValueError, match="softmax twise"):
        Mechanism("softmax twise")
