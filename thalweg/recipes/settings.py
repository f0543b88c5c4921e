"""Settings: a recipe as a table of sections, as TOML writes it, and where each value came from.

    [data]  [augmentation]  [model]  [objective]  [optimizer]  [schedule]  [penalty]  [average]  [stopping]  [fit]

A value given on the command line (`--set optimizer.lr=0.01`, `--set epochs=20`) lies over one from the file, and one
from the file over the default. What cannot be understood is an error that names the file and the line.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from thalweg.core.errors import RecipeError, did_you_mean

Section = dict[str, Any]

DATA_KEYS = (
    "source",
    "target",
    "task",
    "missing",
    "header",
    "group",
    "time",
    "weights",
    "features",
    "layout",
    "test",
    "validation_share",
    "test_share",
    "split_seed",
    "size",
    "channels",
    "damaged",
    "limit",
    "cache",
    "text",
    "unit",
    "vocabulary",
    "fewest",
    "lower",
    "longest",
    "tokens",
    "validation",
    "tokens_column",
    "tags_column",
    "documents",
    "pattern",
    "rate",
    "mels",
    "normalize",
    "htk",
    "edges",
    "id",
    "split",
    "directed",
    "edge_header",
    "shared",
    "copying",
    "stress",
    "categories",
    "output",
    "label_order",
    "separator",
    "letters",
)
CLOSED = {
    "data": DATA_KEYS,
    "augmentation": (
        "flip",
        "rotate",
        "scale",
        "shift",
        "shear",
        "crop",
        "padding",
        "brightness",
        "contrast",
        "noise",
        "cutout",
        "mixup",
        "copies",
        "pitch_masks",
        "time_masks",
        "pitch_share",
        "time_width",
        "time_share",
        "pitch_warp",
        "speed",
        "cut",
    ),
    "stopping": ("patience", "min_delta"),
    "fit": (
        "batch_size",
        "epochs",
        "seed",
        "metrics",
        "clip_norm",
        "accumulate",
        "precision",
        "compile",
        "channels_last",
    ),
}
"""The sections whose keys are known here; those of the others are the arguments of the piece that `kind` names."""
OPEN = ("model", "objective", "optimizer", "schedule", "penalty", "average")
SECTIONS = ("data", "augmentation", *OPEN, "stopping", "fit")


@dataclass(frozen=True)
class Settings:
    """Sections of keys and values; `where` says from which place each value came.

    >>> settings = Settings({"fit": {"epochs": 5}}).over(["epochs=7", "optimizer.lr=0.01"])
    >>> settings["fit"]["epochs"], settings["optimizer"]
    (7, {'lr': 0.01})
    """

    sections: Mapping[str, Section]
    where: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def __getitem__(self, section: str) -> Section:
        return dict(self.sections.get(section, {}))

    def over(self, assignments: Iterable[str]) -> "Settings":
        """These settings with `section.key=value` assignments over them, values written as in TOML.

        Raises `RecipeError` for an unknown key, an ambiguous one, or an assignment without `=`.
        """
        settings = self
        for assignment in sorted(assignments, key=lambda text: not text.partition("=")[0].strip().endswith("kind")):
            name, equals, text = assignment.partition("=")
            if not equals:
                raise RecipeError(f"--set {assignment} gives no value. Write --set key=value, as in --set epochs=20.")
            section, key = settings._place(name.strip(), f"--set {assignment}")
            settings = settings.with_value(section, key, parse_value(text.strip()), f"--set {assignment}")
        return settings

    def with_value(self, section: str, key: str, value: Any, where: str) -> "Settings":
        """These settings with one value set; a new `kind` drops the arguments of the piece that stood there."""
        kept = {} if key == "kind" and self[section].get("kind") != value else self[section]
        sections = dict(self.sections) | {section: kept | {key: value}}
        return replace(self, sections=sections, where=dict(self.where) | {(section, key): where})

    def place(self, section: str, key: str = "") -> str:
        """Where a value came from, as the beginning of an error message; empty for a default."""
        own = [where for (name, _), where in self.where.items() if name == section]
        near = self.where.get((section, key)) or self.where.get((section, "kind")) or self.where.get((section, ""), "")
        where = near if key else near or " ".join(own[:1])
        return f"{where}: " if where else ""

    def _place(self, name: str, where: str) -> tuple[str, str]:
        section, dot, key = name.partition(".")
        if dot:
            check_key(section, key, where)
            return section, key
        homes = [home for home in SECTIONS if name in CLOSED.get(home, ()) or name in self[home]]
        if len(homes) == 1:
            return homes[0], name
        if name in OPEN:
            return name, "kind"
        if name in CLOSED:
            keys = ", ".join(f"{name}.{key}" for key in CLOSED[name])
            raise RecipeError(f"{where}: '{name}' is a section. Write one of its keys: {keys}.")
        known = [f"{home}.{key}" for home in SECTIONS for key in (*CLOSED.get(home, ()), *self[home])]
        if homes:
            raise RecipeError(
                f"{where}: '{name}' could be any of {', '.join(f'{home}.{name}' for home in homes)}. Write which."
            )
        near = did_you_mean(name, [key.split(".")[1] for key in known] + known)
        if not near.startswith(" Did"):
            near += f" Of a piece write the section too, as in model.{name}: {', '.join(OPEN)} are those."
        raise RecipeError(f"{where}: there is no setting '{name}'.{near}")


SHORT_NUMBER = re.compile(r"[+-]?(\.\d+|\d+\.)([eE][+-]?\d+)?")
"""A number that TOML wants written out: .1 and 1. are 0.1 and 1.0."""


def parse_value(text: str) -> Any:
    """A value as TOML reads it, plain text where TOML reads none; `none` is None.

    >>> parse_value(".5"), parse_value("true"), parse_value("houses.csv"), parse_value("none")
    (0.5, True, 'houses.csv', None)
    """
    if text.lower() == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return float(text) if SHORT_NUMBER.fullmatch(text) else text


def read_settings(path: Path) -> Settings:
    """The settings of a TOML file, every section and key checked.

    Raises `RecipeError` with file and line for what TOML cannot read and for unknown sections and keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not written in UTF-8 ({error.reason}). Save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        place = f"{path}, line {line[1]}" if line else str(path)
        raise RecipeError(f"{place}: this is not TOML: {error}. See https://toml.io for how it is written.") from error
    where: dict[tuple[str, str], str] = {}
    for name, section in table.items():
        place = f"{path}, line {_line_of(text, name)}"
        if name not in SECTIONS:
            raise RecipeError(f"{place}: there is no section [{name}].{did_you_mean(name, SECTIONS)}")
        if not isinstance(section, dict):
            raise RecipeError(f"{place}: '{name}' is a section: write [{name}] on a line, and its keys below.")
        where[(name, "")] = place
        for key in section:
            where[(name, key)] = f"{path}, line {_line_of(text, name, key)}"
            check_key(name, key, where[(name, key)])
    sections = {name: section if name == "data" else _with_none(section) for name, section in table.items()}
    return Settings(sections, where)


def _with_none(section: Section) -> Section:
    """TOML has no word for None; "none" stands for it, as it does after --set (a column of [data] may be called so)."""
    return {key: None if value == "none" else value for key, value in section.items()}


def check_key(section: str, key: str, where: str) -> None:
    """Refuse an unknown section, and an unknown key of a section whose keys are known here."""
    if section not in SECTIONS:
        raise RecipeError(f"{where}: there is no section '{section}'.{did_you_mean(section, SECTIONS)}")
    if section in CLOSED and key not in CLOSED[section]:
        raise RecipeError(f"{where}: [{section}] has no key '{key}'.{did_you_mean(key, CLOSED[section])}")


def _line_of(text: str, section: str, key: str | None = None) -> int:
    """The line that opens a section, or that sets a key in it."""
    opened = 0
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            opened = number if head[1].split(".")[0].strip("\"' ") == section else 0
            if opened and key is None:
                return number
        elif (key is not None and opened and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line)) or (
            re.match(rf"\s*[\"']?{re.escape(section)}[\"']?\s*[.=]", line) and not opened
        ):
            return number
    return opened or 1
