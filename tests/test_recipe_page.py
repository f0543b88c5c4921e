"""docs/recipe.md: its tables say what the code accepts; its example and the README's are trained as written."""

import re
from pathlib import Path

import pytest
import torch

import thalweg
from thalweg.recipes.keys import Key, keys
from thalweg.recipes.settings import CLOSED

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
PINNED = f"torch=={torch.__version__.partition('+')[0]}" in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def said() -> set[Key]:
    """The keys in the page's tables, one for each kind that a row names."""
    found = set()
    for section, body in re.findall(r"^## \[(\w+)\]\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        for name, kinds, may_be, default in re.findall(r"^\| `(\w+)` \|(.*?)\| (.+?) \| (.+?) \| .+ \|$", body, re.M):
            found |= {Key(section, kind.strip(), name, may_be, default) for kind in kinds.split(",")}
    return found


def test_the_page_says_what_the_code_accepts_and_no_more() -> None:
    accepted = set(keys())
    assert not (wrong := sorted(said() - accepted)), f"docs/recipe.md says what is not so: {wrong}"
    if PINNED:  # another torch may know more
        assert not (unsaid := sorted(accepted - said())), f"docs/recipe.md lacks {unsaid}"


def test_the_keys_of_closed_sections_are_those_of_the_signatures() -> None:
    for section, names in CLOSED.items():
        assert set(names) == {key.name for key in keys() if key.section == section}


def toml_of(page: Path) -> str:
    block = re.search(r"^```toml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1]


def trained(page: Path, folder: Path, source: str, rows: list[str]) -> thalweg.Run:
    (folder / source).write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "recipe.toml").write_text(toml_of(page), encoding="utf-8")
    return thalweg.train(thalweg.load(folder / "recipe.toml"))


def test_the_example_of_the_page_is_trained(tmp_path: Path) -> None:
    rows = [
        f"{i // 3},{20 + 7 * i % 60},{'' if i % 11 == 0 else 3 * i % 17},{'no' if i % 5 else 'yes'}" for i in range(90)
    ]
    run = trained(ROOT / "docs" / "recipe.md", tmp_path, "visits.csv", ["patient,age,dose,ill", *rows])
    assert run.status in (thalweg.Outcome.FINISHED, thalweg.Outcome.STOPPED_EARLY)
    assert set(run.history[0]["metrics"]) == {"balanced_accuracy", "auc"}
    assert (run.recipe.batch_size, run.recipe.epochs, run.recipe.seed) == (16, 60, 1)
    assert run.recipe.objective.label_smoothing == 0.05
    assert run.recipe.objective.class_weights is not None


def test_the_recipe_of_the_readme_is_trained(tmp_path: Path) -> None:
    rows = [f"{40 + 7 * i % 90},{'abc'[i % 3]},{100 + 3 * (7 * i % 90) + i % 5}" for i in range(60)]
    run = trained(ROOT / "README.md", tmp_path, "houses.csv", ["size,place,price", *rows])
    assert run.status in (thalweg.Outcome.FINISHED, thalweg.Outcome.STOPPED_EARLY)
    assert run.recipe.model.keywords["width"] == 128
    rates = [row["learning_rate"] for row in run.history]
    assert max(rates) == pytest.approx(0.01, rel=0.1)
    assert rates[-1] < rates[len(rates) // 2] or run.status is thalweg.Outcome.STOPPED_EARLY
