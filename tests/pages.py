"""Run folders for the tests of the report, and their pages taken apart as a browser does."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from thalweg.report import write_report

CHECKED = {"meta", "style", "html", "head", "title", "body", "header", "nav", "main", "section", "footer", "p", "span"}
CHECKED |= {
    "h1",
    "h2",
    "h3",
    "bdi",
    "a",
    "dl",
    "dt",
    "dd",
    "div",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "ul",
    "li",
}
CHECKED |= {"mark", "figure", "figcaption", "pre", "code", "details", "summary"}
DRAWN = {"svg", "g", "path", "use", "text", "defs", "clippath", "rect", "image"}


class Page(HTMLParser):
    """The tags, the attributes and the text of a page, as a browser takes them apart."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def commands(self) -> list[str]:
        """The lines for a shell, as they are copied from the page."""
        lines = re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", self.source, re.DOTALL)
        return [html.unescape(re.sub(r"<[^>]*>", "", line)) for line in lines]

    @property
    def titles(self) -> list[str]:
        return re.findall(r"<h2>(.*?)</h2>", self.source)

    @property
    def figures(self) -> list[ElementTree.Element]:
        return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", self.source, re.DOTALL)]


def page(folder: Path) -> Page:
    """The report of a folder, after the checks that hold for every page."""
    found = Page(write_report(folder))
    assert len(found.source) < 2_000_000
    assert set(found.tags) <= CHECKED | DRAWN
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    links = [value for name, value in found.attributes if name in ("href", "src", "xlink:href")]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not re.search(r"https?://", found.source)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", found.source)
    ids = [value for name, value in found.attributes if name == "id"]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert all("nan" not in str(value).lower() for figure in found.figures for value in figure.attrib.values())
    return found


def score(value: float, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def write(folder: Path, **files: Any) -> Path:
    """A run folder with run.json and these files, each as JSON under its name; text is written as it is."""
    run = {
        "run": "20260101-000000-one-0000",
        "name": "one",
        "created": "2026-01-01T00:00:00+00:00",
        "status": "FINISHED",
    }
    run |= {"epochs": 3, "best_epoch": 2, "seconds": 1.5, "notices": [], "error": None, "versions": {"python": "3.11"}}
    for name, value in ({"run.json": run} | files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = value if isinstance(value, str) else json.dumps(value)
        path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    return folder


def history(epochs: int, validation: bool = True) -> str:
    rows = [
        {"epoch": e, "train_loss": 2 / e, "validation_loss": 0.1 + 2 / e if validation else None, "metrics": {}}
        for e in range(1, epochs + 1)
    ]
    return "\n".join(map(json.dumps, rows))


def classes(labels: list[str]) -> dict[str, Any]:
    return {"schema": {"columns": [], "target": {"names": ["kind"], "kind": "classes", "labels": labels}}}


def numbers(names: list[str], **notation: str) -> dict[str, Any]:
    target = {"names": names, "kind": "numbers", "labels": [], "notations": [notation] * len(names)}
    return {"schema": {"columns": [], "target": target}}


def quoted(cells: list[str]) -> str:
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)


FINDING: dict[str, Any] = {
    "cause": "MODEL_BIAS",
    "sentence": "The model is too small for these data.",
    "mechanism": "Two units for 61 inputs.",
    "next": "thalweg improve digits --budget 20",
    "would_decide": None,
    "ranked": [
        {"cause": "MODEL_BIAS", "share": 0.8, "sentence": "A wider one closes 94 % of the way."},
        {"cause": "MISMATCH", "share": None, "sentence": "Not judged."},
    ],
    "losses": {
        "floor": {"low": 0.001, "high": 0.02, "by": "wider network"},
        "train": score(0.41, 0.38, 0.44),
        "validation": score(0.47, 0.4, 0.54),
        "test": None,
    },
    "experiments": [
        {
            "question": "Does a larger model fit better?",
            "measure": "train loss",
            "control": {"name": "as given", **score(0.41, 0.38, 0.44), "seeds": [0, 1]},
            "arms": [
                {
                    "name": "width x 8",
                    "change": ["mlp.width 2 -> 16"],
                    **score(0.02, 0.01, 0.03),
                    "seeds": [0, 1],
                    "seconds": 2,
                },
                {
                    "name": "no end",
                    "change": [],
                    "value": None,
                    "low": None,
                    "high": None,
                    "seeds": [0],
                    "seconds": None,
                },
            ],
            "answer": "yes",
            "effect": score(-0.39, -0.42, -0.36),
            "says": "Eight times the width closes the way to the floor.",
        },
        {
            "question": "Nothing ran?",
            "measure": "train loss",
            "control": None,
            "arms": [],
            "answer": "undecided",
            "effect": None,
        },
    ],
    "remedies": [{"name": "widen", "cause": "MODEL_BIAS", "sentence": "Twice the width."}],
    "cost": {"runs": 18, "seconds": 12.3, "times": 9.4},
    "notices": ["The test set was split once."],
}
PROOF: dict[str, Any] = {
    "remedy": "widen",
    "cause": "MODEL_BIAS",
    "change": ["mlp.width 2 -> 16"],
    "measure": "validation loss",
    "pairs": [{"seed": 0, "without": 0.4, "with": 0.1}, {"seed": 1, "without": 0.5, "with": None}],
    "effect": score(0.34, 0.28, 0.4),
    "wins": 2,
    "p": 0.03125,
    "helped": True,
    "cost": {"runs": 4, "seconds": 9.1},
}
DIARY: dict[str, Any] = {
    "command": "thalweg improve digits --budget 20",
    "rounds": [
        {
            "round": 1,
            "cause": "MODEL_BIAS",
            "sentence": "Too small.",
            "tried": [
                {"remedy": "train_longer", "helped": False, "effect": score(-0.01, -0.05, 0.03)},
                {"remedy": "widen", "helped": True, "effect": score(0.34, 0.28, 0.4)},
            ],
            "adopted": "widen",
        },
        {"round": 2, "cause": "NONE", "sentence": "Nothing stands out.", "tried": [], "adopted": None},
    ],
    "start": {"test": {"loss": score(0.49, 0.4, 0.6)}},
    "end": {"test": {"loss": score(0.1, 0.05, 0.15)}},
    "budget": "20",
    "ended": "Nothing stands out any more.",
}
