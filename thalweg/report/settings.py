"""What was trained and how to train it again: the model, the recipe, the command, the notices, the versions."""

import json
import math
import re
import shlex
from pathlib import Path
from typing import Any

from thalweg.report.blocks import Command, Facts, Folded, Items, Prose, Section, Table
from thalweg.report.evidence import Evidence, mapping, texts
from thalweg.report.wording import clean

OPTIONS = ("target", "task", "missing", "group", "time", "weights", "test")
MOST_TENSORS, MOST_NOTICES = 200, 40


def model(evidence: Evidence) -> Section:
    """What was built: the factory, the number of parameters, each tensor's shape."""
    blocks: list[Any] = []
    fields, tensors = recipe_fields(evidence.recipe), evidence.tensors
    facts = [("Model", clean(fields["model"], 600))] if "model" in fields else []
    if tensors:
        total = sum(math.prod(shape) for shape in tensors.values())
        facts += [("Weights", f"{total:,} numbers in {len(tensors):,} tensors")]
    if facts:
        blocks.append(Facts(facts))
    if tensors:
        rows = [
            [clean(name, 80), " × ".join(map(str, shape)) or "1", f"{math.prod(shape):,}"]
            for name, shape in list(tensors.items())[:MOST_TENSORS]
        ]
        left = len(tensors) - len(rows)
        table = Table(["tensor", "shape", "numbers"], rows)
        more = [Prose(f"And {left:,} more.", quiet=True)] if left else []
        blocks.append(Folded("Its tensors", [table, *more]))
    return Section("model", "The model", blocks)


def recipe(evidence: Evidence) -> Section:
    """The recipe as it was resolved, and the command that trains it again."""
    blocks: list[Any] = []
    fields = [(name, clean(text, 600)) for name, text in recipe_fields(evidence.recipe).items() if text != "None"]
    command = reproduction(evidence.recipe)
    diagnosed = next(
        (str(found["command"]) for found in (evidence.diary, evidence.finding) if found.get("command")), ""
    )
    if command:
        blocks += [Prose("This command trains the same recipe again:"), Command(clean(command, 4000))]
    elif fields and not diagnosed:
        said = "It was trained from Python; give thalweg.train the same recipe to train it again."
        blocks.append(Prose(said))
    if diagnosed:
        blocks += [
            Prose("This command makes the run, what is found about it, and this page again:"),
            Command(clean(diagnosed, 4000)),
        ]
    if fields:
        blocks.append(Table(["field", "value"], [[name, text] for name, text in fields], plain=(0, 1)))
    if fingerprint := evidence.recipe.get("fingerprint"):
        blocks.append(
            Prose(f"Fingerprint {clean(fingerprint, 40)}: two runs that share it were given the same.", quiet=True)
        )
    return Section("recipe", "Recipe and command", blocks)


def notices(evidence: Evidence) -> Section:
    """What was decided or repaired on the user's behalf, in training and in the diagnosis."""
    said = list(dict.fromkeys([*texts(evidence.run.get("notices")), *texts(evidence.finding.get("notices"))]))
    shown = [clean(text, 400) for text in said[:MOST_NOTICES]]
    left = len(said) - len(shown)
    more = [Prose(f"And {left:,} more in run.json and finding.json.", quiet=True)] if left else []
    return Section("notices", "Notices", [Items(shown), *more] if shown else [])


def versions(evidence: Evidence) -> str:
    """Names and versions of what the run was made with, in a line.

    They were written when the run began, so that they hold for it and not for whoever reads.
    """
    return ", ".join(
        f"{clean(name, 40)} {clean(text, 40)}" for name, text in mapping(evidence.run.get("versions")).items()
    )


def recipe_fields(written: dict[str, Any]) -> dict[str, str]:
    """The fields of a recipe.json as text, without addresses in memory.

    >>> recipe_fields({"fields": {"metrics": "{'mae': <function mae at 0x7f3ea7d1f880>}", "seed": 0}})
    {'metrics': "{'mae': mae}", 'seed': '0'}
    """
    return {
        str(name): re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"<function ([\w.<>]+) at 0x[0-9a-f]+>", r"\1", str(text)))
        for name, text in mapping(written.get("fields")).items()
    }


def reproduction(written: dict[str, Any]) -> str:
    """The command that trains a recipe.json again; empty where it was trained from Python objects.

    >>> settings = {"data": {"source": "houses.csv", "target": "price"}, "model": {"kind": "mlp"}, "fit": {"seed": 0}}
    >>> reproduction({"origin": {"name": "houses", "settings": settings}})
    'thalweg train houses.csv --target price --set model.kind=mlp --set fit.seed=0'
    >>> reproduction({"origin": {"case": "healthy", "assignments": ["epochs=9"]}, "counts": {"seed": 3}})
    'thalweg train case:healthy --set epochs=9 --seed 3'
    """
    origin = mapping(written.get("origin"))
    settings = {name: mapping(section) for name, section in mapping(origin.get("settings")).items()}
    data = settings.pop("data", {})
    if "case" in origin:
        options = [("--set", text) for text in texts(origin.get("assignments"))]
        seed = mapping(written.get("counts")).get("seed")
        return _joined([f"case:{origin['case']}"], [*options, *([("--seed", str(seed))] if seed else [])])
    if "python" in origin:
        subject, given = str(origin["python"]), texts(origin.get("assignments"))
        given = [*given, *(f"{key}={_toml(value)}" for key, value in settings.get("fit", {}).items())]
        return _joined([subject], [("--set", text) for text in given])
    if isinstance(origin.get("folder"), str):
        subject, data = str(Path(origin["folder"]) / f"{origin.get('name')}.toml"), {}
    elif "source" in data:
        subject = str(data["source"])
    else:
        return ""
    options = [(f"--{key}", str(data[key])) for key in OPTIONS if data.get(key) is not None]
    other = {key: value for key, value in data.items() if key not in (*OPTIONS, "source")}
    # `kind` comes first: a new one drops the arguments of the piece that stood there.
    pieces = {name: sorted(section.items(), key=lambda item: item[0] != "kind") for name, section in settings.items()}
    sets = [
        f"{name}.{key}={_toml(value)}"
        for name, items in ({"data": [*other.items()]} | pieces).items()
        for key, value in items
    ]
    return _joined([subject], [*options, *(("--set", text) for text in sets)])


def _joined(subject: list[str], options: list[tuple[str, str]]) -> str:
    return shlex.join(["thalweg", "train", *subject, *(part for option in options for part in option)])


def _toml(value: Any) -> str:
    """A value as `--set` reads it."""
    if value is None:
        return "none"
    if isinstance(value, str):
        bare = re.fullmatch(r"[A-Za-z_][\w./:-]*", value) and value.lower() not in (
            "none",
            "true",
            "false",
            "inf",
            "nan",
        )
        return value if bare else json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_toml_inside(item)}" for key, item in value.items()) + "}"
    return _toml_inside(value)


def _toml_inside(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_inside, value)) + "]"
    return _toml(value) if isinstance(value, dict) else json.dumps(value, ensure_ascii=False)
