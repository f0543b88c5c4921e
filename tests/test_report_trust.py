"""What a report makes of files that it cannot trust: hostile text is text, and a damaged file is named."""

import struct
from pathlib import Path
from typing import Any

import pytest
from pages import DIARY, FINDING, PROOF, classes, history, page, quoted, score, write

from thalweg.core.errors import RunError
from thalweg.report import clean, write_report

HOSTILE = {
    "script": "</script><script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "style": "</style><b onclick=alert(1)>",
    "svg": "]]></text></svg><script>1</script>",
    "mathtext": r"$\foo{$",
    "template": "{{ 7 * 7 }}{% raw %}",
    "turned": "abc\u202edef\u200f",
    "control": "a\x00b\x1bc\ufffed",
    "lines": "one\ntwo\r\n\tthree",
    "surrogate": "\ud800 alone",
    "quotes": "\"'`&amp;",
    "letters": "猫 αβγ עברית",
    "long": "x" * 1_000_000,
    "empty": "",
}


def shown(text: str) -> str:
    return " ".join(clean(text, 10_000).split())


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_text_everywhere(tmp_path: Path, text: str) -> None:
    def spread(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: spread(item) for key, item in value.items()}
        if isinstance(value, list):
            return [spread(item) for item in value]
        return text if isinstance(value, str) else value

    names = [text, "other"]
    file = "\n".join([quoted([text + "c", "kind", "prediction", "probability"]), quoted([text, text, "other", "0.9"])])
    files = {
        "run.json": {
            "run": text,
            "name": text,
            "status": text,
            "created": text,
            "error": text,
            "notices": [text, text + "2"],
        }
        | {"versions": {text: text}, "epochs": text, "seconds": text, "best_epoch": text},
        "recipe.json": {"fields": {text: text, "model": text}, "fingerprint": text}
        | {"origin": {"name": text, "settings": {"data": {"source": text, "target": text}, text: {text: text}}}},
        "evaluation.json": {
            "metrics": {"test": {text: score(0.5, 0.4, 0.6)}, "train": {text: text}},
            "calibration": text,
        },
        "preprocessing.json": classes(names),
        "predictions/test.csv": file,
        "finding.json": spread(FINDING) | {"cause": text},
        "proofs/1.json": spread(PROOF),
        "diary.json": spread(DIARY),
        "metrics.jsonl": history(2),
    }
    found = page(write(tmp_path, **files))
    start = shown(text)[:40].strip()
    assert start in found.text
    labels = " ".join(" ".join(" ".join(figure.itertext()) for figure in found.figures).split())
    assert start[:8].strip() in labels
    if text == HOSTILE["long"]:
        assert "… (1,000,000 characters)" in found.text


def test_cleaned_text_keeps_scripts_of_people() -> None:
    assert clean("猫 αβγ עברית é") == "猫 αβγ עברית é"
    assert clean("\u202eabc") == "⟨U+202E⟩abc"


# --- damaged files ----------------------------------------------------------------------------------------------------

WRONG_SHAPES: list[Any] = [{}, {"cause": None}, {"losses": [1]}, {"experiments": {"a": 1}}, {"ranked": [1, None, {}]}]
WRONG_SHAPES += [{"experiments": [{"control": 3, "arms": [{"value": "x", "seeds": 3, "change": 5}]}]}, {"cost": "much"}]


@pytest.mark.parametrize("finding", WRONG_SHAPES, ids=str)
def test_what_a_file_does_not_say_is_left_out(tmp_path: Path, finding: Any) -> None:
    files = {
        "finding.json": finding,
        "proofs/1.json": {"pairs": 3, "effect": []},
        "diary.json": {"rounds": [{"tried": 3}]},
    }
    page(write(tmp_path, **files))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("run.json", "{", "run.json is damaged"),
        ("run.json", "[]", "it holds a list, not an object"),
        ("finding.json", "\x00", "finding.json is damaged"),
        ("proofs/a.json", '{"pairs": ', "a.json is damaged"),
        ("metrics.jsonl", '{"epoch": 1}\n{"epoch"', "metrics.jsonl is damaged (line 2: "),
        ("metrics.jsonl", "3", "line 1 holds no object"),
        ("evaluation.json", "[" * 100_000, "evaluation.json is damaged"),
        ("checkpoints/best.safetensors", "no", "does not begin as a safetensors file does"),
        ("checkpoints/best.safetensors", struct.pack("<Q", 3).decode() + "[3]", "best.safetensors is damaged"),
        ("predictions/test.csv", "kind,prediction\na,b\n", "it has no column probability"),
        ("predictions/test.csv", "kind,prediction,probability\na,b\n", "line 2 has 2 cells, the header 3"),
        ("predictions/test.csv", "", "it has no column kind"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(RunError) as caught:
        write_report(write(tmp_path, **{"preprocessing.json": classes(["a"]), name: text}))
    assert words in str(caught.value)
    assert "take the file away" in str(caught.value)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="it has no run.json. Give a folder that thalweg train wrote."):
        write_report(tmp_path)
