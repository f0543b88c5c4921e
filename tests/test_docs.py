"""The pages run: each page's Python blocks are one script, and each recipe of the contracts' table trains."""

import re
from pathlib import Path

import pytest

import thalweg

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
SCRIPTED = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


def script(page: Path) -> str:
    """The Python blocks of a page, each on the lines where the page has it, so that errors name them."""
    text = page.read_text(encoding="utf-8")
    lines = [""] * text.count("\n")
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        first = text[: block.start(1)].count("\n")
        body = block[1].splitlines()
        lines[first : first + len(body)] = body
    return "\n".join(lines)


def run_page(page: Path) -> dict[str, object]:
    namespace: dict[str, object] = {"__name__": "page"}
    exec(compile(script(page), str(page), "exec"), namespace)
    return namespace


@pytest.mark.parametrize("page", SCRIPTED, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page)


def contract_rows() -> list[tuple[str, str]]:
    text = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    return re.findall(r"^\| (.+?) \| `(Recipe\(.+\))` \|$", text, re.MULTILINE)


def test_the_table_has_eight_examples() -> None:
    assert len(contract_rows()) == 8


@pytest.mark.parametrize(("what", "code"), contract_rows())
def test_a_recipe_of_the_table_trains_and_is_judged(what: str, code: str) -> None:
    namespace = run_page(ROOT / "docs" / "contracts.md")
    recipe = eval(code, namespace).but(epochs=3)
    run = thalweg.train(recipe)
    assert run.status is thalweg.Outcome.FINISHED, what
    assert thalweg.evaluate(run, recipe.data.train)["loss"][0] > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"
