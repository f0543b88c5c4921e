"""The page on a loss that does not go down quotes what the cases said when its pictures were drawn, and shows these."""

import re
from pathlib import Path

import pytest

from thalweg.cases import CASES
from thalweg.cli import main

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "why-is-my-loss-not-going-down.md").read_text(encoding="utf-8")
PICTURES = DOCS / "pictures" / "why"
SAID = (PICTURES / "said.txt").read_text(encoding="utf-8")


def numbers(text: str) -> set[str]:
    """The decimal numbers of a text, from three significant digits on, as they are printed."""
    return set(re.findall(r"(?<![\w.])\d+\.\d{2,}(?![\w.])", text))


def quoted() -> list[str]:
    return [line for block in re.findall(r"^```text\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]


@pytest.mark.parametrize("line", quoted())
def test_a_quoted_line_was_said(line: str) -> None:
    assert line in SAID


def test_no_number_of_the_page_is_out_of_the_air() -> None:
    settings = {"0.00001", "0.03", "0.45"}
    assert numbers(PAGE) - settings - numbers(SAID) == set()


def test_a_number_that_no_case_said_is_seen() -> None:
    assert numbers("It came to 0.1234, of 2.27.") - numbers(SAID) == {"0.1234"}


def test_the_pictures_are_shown_and_light() -> None:
    shown = set(re.findall(r"\]\(pictures/why/(\w[\w-]*\.svg)\)", PAGE))
    sizes = {file.name: file.stat().st_size for file in PICTURES.glob("*.svg")}
    assert shown == set(sizes)
    assert max(sizes.values()) < 100_000
    assert sum(sizes.values()) < 600_000


def test_links_within_the_page_lead_to_a_heading() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.M)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors


def test_every_bundled_case_stands_on_the_page_and_was_asked() -> None:
    assert all(f"`{name}`" in PAGE or f"case:{name}" in PAGE for name in CASES)
    assert all(f"== {name}\n{case.cause}  " in SAID for name, case in CASES.items())


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^thalweg (diagnose case:[\w-]+)", PAGE, re.M))))
def test_the_commands_of_the_page_are_understood(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--dry-run"]) == 0
    assert "How large are the losses?" in capsys.readouterr().out
