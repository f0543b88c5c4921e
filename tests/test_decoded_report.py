"""Texts that a model put out, as the report shows them: counts of edits, where it looked, how a beam search went."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from pages import page, write
from torch import Tensor, nn

import thalweg
from thalweg.cli import main
from thalweg.core.convert import loaded
from thalweg.core.errors import RunError
from thalweg.core.tokens import END, START
from thalweg.measure.texts import aligned, edits
from thalweg.recipes.decoding_shown import BEAMS, Looks, decoding_shown
from thalweg.report.beam_tree import PER_ROW, Row, draw_tree, path_of, read_levels, shortened
from thalweg.report.terms import explained

QUICK = [word for knob in ("kind=transformer", "width=8", "depth=1", "heads=2") for word in ("--set", f"model.{knob}")]
SPELLED = {"a": "x", "b": "y", "c": "z"}
TITLES = {"What was said", "Where the model looked", "How the beam search found it"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on pairs, as `thalweg train` leaves it."""
    out = tmp_path_factory.mktemp("pairs")
    texts = ["".join("abc"[i // 3**k % 3] for k in range(4)) for i in range(0, 81, 2)]
    lines = [f"{text}\t{''.join(SPELLED[letter] for letter in text[:3])}\n" for text in texts]
    (out / "pairs.tsv").write_text("".join(lines))
    arguments = [*QUICK, "--set", "epochs=10", "--set", "optimizer.lr=0.03", "--set", "data.copying=true"]
    assert main(["train", str(out / "pairs.tsv"), *arguments, "--out", str(out / "runs"), "--quiet", "--json"]) == 0
    return next((out / "runs").iterdir())


@pytest.fixture(scope="module")
def kept(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "decoding.json").read_text())
    return found


@pytest.fixture(scope="module")
def looks(folder: Path) -> Looks:
    run = thalweg.load_run(folder)
    assert run.recipe is not None
    return Looks(run.model.eval(), loaded(run.recipe.data.test), torch.device("cpu"))


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_edits_are_those_of_the_predictions(folder: Path, kept: dict[str, Any]) -> None:
    said = pd.read_csv(folder / "predictions" / "test.csv", keep_default_na=False)
    found = edits(said["prediction"].tolist(), [[text] for text in said["target"]])
    assert kept["split"] == "test"
    assert kept["edits"] == found.distance.tolist()
    shares = [item["edits"] / item["length"] for item in kept["worst"]]
    assert shares == sorted(shares, reverse=True)
    for item in kept["worst"]:
        row = said.iloc[item["row"]]
        assert [item["source"], "".join(text for text, _ in item["output"])] == [row["source"], row["prediction"]]
        assert "".join(text for text, _ in item["reference"]) == row["target"]


@pytest.mark.parametrize(("unit", "joint"), [("characters", ""), ("words", " ")])
def test_what_no_edit_touches_is_a_longest_common_part_of_a_cheapest_way(unit: str, joint: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        texts = [
            joint.join("abc"[i] for i in torch.randint(3, (length,), generator=generator))
            for length in torch.randint(0, 7, (2,), generator=generator).tolist()
        ]
        (distance,) = edits(texts[:1], [texts[1:]], unit).distance
        kept = aligned(texts[0], texts[1], unit)
        units = [text.split() if joint else list(text) for text in texts]
        same = [
            [one for one, stays in zip(side, own, strict=True) if stays] for side, own in zip(units, kept, strict=True)
        ]
        assert same[0] == same[1]
        lost = [len(side) - len(own) for side, own in zip(units, same, strict=True)]
        assert max(lost) <= distance <= sum(lost)


def test_a_map_is_the_mean_of_the_last_layers_heads(kept: dict[str, Any], looks: Looks) -> None:
    for item in kept["attention"]:
        ((found, _),) = looks.searched([item["row"]])
        best = found[0]
        prefix = torch.tensor([[START, *best.tokens]])
        inputs = looks.inputs([item["row"]])
        with torch.no_grad():
            expected = looks.model.maps(**inputs, prefix=prefix)[-1][0].mean(0)
            copied = 1 - looks.model.copied(**inputs, prefix=prefix)[1][0]
        torch.testing.assert_close(torch.tensor(item["weights"]), expected, atol=1e-3, rtol=0)
        torch.testing.assert_close(torch.tensor(item["copied"]), copied, atol=1e-3, rtol=0)
        assert item["output"][-1] == "END"
        assert item["right"] == (kept["edits"][item["row"]] == 0)


def test_the_tree_has_what_the_search_kept_and_the_next_ones(kept: dict[str, Any], looks: Looks) -> None:
    tree = kept["tree"]
    ((_, found),) = looks.searched([tree["row"]])
    assert tree["steps"] == len(found.levels)
    inputs, paths = looks.inputs([tree["row"]]), dict[tuple[int, int], list[str]]()
    for number, level in enumerate(tree["levels"]):
        own = [node for node in level if node["kept"]]
        assert [node["log_likelihood"] for node in own] == [round(n.log_likelihood, 4) for n in found.levels[number]]
        dropped = [node["log_likelihood"] for node in level if not node["kept"]]
        assert len(own) <= BEAMS
        assert all(total <= min(node["log_likelihood"] for node in own) + 1e-4 for total in dropped)
        for place, node in enumerate(level):
            before = [] if node["parent"] is None else paths[number - 1, node["parent"]]
            paths[number, place] = [*before, node["token"]]
    numbers, checked = looks.encoding.target.numbers | {"END": END}, 0
    for (number, place), path in paths.items():
        node = tree["levels"][number][place]
        if node["kept"] or not set(path) <= set(numbers):
            continue
        tokens = [numbers[one] for one in path]
        with torch.no_grad():
            scores = looks.model(**inputs, prefix=torch.tensor([[START, *tokens[:-1]]]))[0].log_softmax(1)
        total = float(scores[range(len(tokens)), tokens].sum())
        assert node["log_likelihood"] == pytest.approx(total, abs=1e-3)
        checked += 1
    assert checked
    first = tree["outputs"][0]
    number, place = first["end"]
    assert "".join(one for one in paths[number, place] if one != "END") == first["text"]


class Plain(nn.Module):
    """A decoder that neither attends nor copies, and is never done before its third token."""

    def forward(self, source: Tensor, lengths: Tensor, prefix: Tensor) -> Tensor:
        scores = torch.zeros(*prefix.shape, 7)
        scores[:, :, END] = torch.where(torch.arange(prefix.shape[1]) < 2, -5.0, 5.0)
        return scores

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, int]:
        return lengths, 0

    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        scores = torch.zeros(len(tokens), 7)
        scores[:, END] = -5.0 if state[1] < 2 else 5.0
        return scores, (state[0], state[1] + 1)


def test_a_model_that_does_not_say_where_it_looks_has_a_tree_alone(looks: Looks) -> None:
    frame = pd.DataFrame({"source": ["ab", "ba", "b"], "target": ["xyx", "yx", ""]})
    source = thalweg.data.PairSource.unfitted(frame, thalweg.data.PairSchema()).fit([0, 1])
    compared = ["xy", "yx", "x"], source.formed_references()
    shown = decoding_shown(Plain(), source, compared, torch.device("cpu"), "characters")
    assert shown["edits"] == [1, 0, 1]
    assert all(item["weights"] == [] for item in shown["attention"])
    assert len(shown["tree"]["levels"]) == 3
    refused = decoding_shown(nn.Linear(2, 2), source, compared, torch.device("cpu"), "characters")
    assert set(refused) == {"unit", "edits", "worst"}
    assert refused["worst"][0]["reference"] == []


# --- what a page shows ------------------------------------------------------------------------------------------------


def test_the_page_of_a_run_on_pairs(folder: Path, kept: dict[str, Any]) -> None:
    found = page(folder)
    assert set(found.titles) >= TITLES
    assert "Character error on test is" in found.text
    assert f"chrF as sacreBLEU computes it: {kept['signatures']['chrf']}" in found.text
    assert "nrefs:1|bs:1000" in kept["signatures"]["chrf"]
    assert "the likeliest after the true ones before them" in found.text
    right = sum(not each for each in kept["edits"])
    assert f"{right} of {len(kept['edits'])} outputs of test are exactly one of their targets." in found.text
    for node in kept["tree"]["levels"][0]:
        assert f"{node['log_likelihood']:.2f}".replace("-", "−") in found.text


NODE = {"token": "س", "parent": None, "log_likelihood": -0.5, "kept": True}
GOOD: dict[str, Any] = {
    "split": "test",
    "unit": "words",
    "signatures": {"bleu": "nrefs:1"},
    "edits": [0, 3],
    "worst": [
        {
            "row": 1,
            "source": "<script>alert(1)</script>\u202e",
            "output": [["يوم", True], [" <b>", False]],
            "reference": [],
            "references": 2,
            "edits": 3,
            "length": 2,
        }
    ],
    "attention": [
        {"row": 0, "right": True, "source": ["猫", " "], "output": ["😀", "END"], "weights": [[0.2, 0.8], [1, 0]]}
    ],
    "tree": {
        "source": "猫",
        "references": ["سلام"],
        "steps": 4,
        "levels": [[NODE], [{**NODE, "parent": 0, "token": "END", "ended": True}]],
        "outputs": [{"text": "س", "score": -0.25, "end": [1, 0]}],
    },
}


def test_text_of_any_script_is_shown_and_never_obeyed(tmp_path: Path) -> None:
    found = page(write(tmp_path, **{"decoding.json": GOOD}))
    assert set(found.titles) >= TITLES
    assert "script" not in found.tags
    assert "<b>" not in found.source
    for text in (
        "<script>alert(1)</script>⟨U+202E⟩",
        "يوم",
        "nothing at all (the nearest of 2)",
        "猫",
        "😀",
        "␣",
        "س ■",
    ):
        assert text in found.text
    assert 'direction="rtl"' in found.source
    assert "--share:80%" in found.source
    assert "The search went on for 2 more steps" in found.text


@pytest.mark.parametrize(
    "changes",
    [
        {"worst": 3, "edits": "many", "attention": [{"weights": 1}], "tree": []},
        {"worst": [{"row": "x"}], "edits": [], "attention": [{**GOOD["attention"][0], "weights": [[0.2]]}], "tree": {}},
        {"worst": [7], "edits": None, "attention": None, "tree": {"levels": [[{"token": 1, "parent": 5}]]}},
    ],
)
def test_what_is_damaged_is_left_out(changes: dict[str, Any], tmp_path: Path) -> None:
    found = page(write(tmp_path, **{"decoding.json": GOOD | changes}))
    assert not TITLES & set(found.titles)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "decoding.json").write_text("[")
    with pytest.raises(RunError, match=r"decoding.json is damaged"):
        page(tmp_path)


def test_levels_are_read_up_to_one_that_hangs_on_nothing() -> None:
    orphan = {**NODE, "parent": 7}
    assert len(read_levels([[NODE], [orphan]], words=False)) == 1
    assert read_levels("x", words=False) == []
    levels = read_levels([[NODE], [{**NODE, "parent": 0}]], words=True)
    assert levels[1][0].text == "س س"
    assert path_of(levels, [1, 0]) == {(0, 0), (1, 0)}
    assert path_of(levels, ["a", 0]) == path_of(levels, [0, 9]) == set()
    assert shortened("<unknown> a", 9) == "\ufffd a"


def test_a_long_search_stands_in_rows_that_a_page_is_wide_enough_for() -> None:
    level = [{"token": "a", "parent": 0, "log_likelihood": -0.1, "kept": True}] * 3
    levels = read_levels([[each | {"parent": None} for each in level[:1]], *[level] * 12], False)
    picture = draw_tree(levels, {(place, 0) for place in range(13)}, "a search", "")
    rows = Row.of(levels)
    assert [(row.first, row.stop) for row in rows] == [(0, 6), (5, 11), (10, 13)]
    assert picture.width <= 836  # what a window of 900 pixels leaves
    assert [picture.svg.count(f">step {step}<") for step in (1, 6, 7, 11, 13)] == [1, 2, 1, 2, 1]
    assert picture.svg.count("<path") == 1 + 3 * 12  # each step is reached once, a row's first was in the row above
    assert [row.top for row in rows] == sorted({row.top for row in rows})
    assert draw_tree(levels[:2], set(), "a search", "").width < picture.width
    assert PER_ROW == 6


def test_a_flat_map_has_its_own_scale_and_says_so(tmp_path: Path) -> None:
    flat = {"source": ["a", "b"], "output": ["c", "END"], "weights": [[0.2, 0.1], [0.05, 0.2]], "right": True}
    write(tmp_path, **{"decoding.json": {"attention": [flat], "split": "test"}})
    source = page(tmp_path).source
    assert re.findall(r'--share:(\d+)%" title="([\d.]+)"', source) == [
        ("100", "0.20"),
        ("50", "0.10"),
        ("25", "0.05"),
        ("100", "0.20"),
    ]
    assert "its own largest share: 0.20." in source


@pytest.mark.parametrize(
    "names", [("exact_match", "word_error"), ("character_error", "chrf"), ("loss", "reward_before")]
)
def test_a_score_is_explained_whatever_stands_above_it(names: tuple[str, str]) -> None:
    assert [name for name, _ in explained(names)] == list(names)
    assert not explained(names)[1][1].startswith("The same")
