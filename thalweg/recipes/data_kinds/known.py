"""The kinds of data, in the order in which they are looked for, and what asks all of them."""

from collections.abc import Mapping
from inspect import Parameter
from pathlib import Path
from typing import Any

from thalweg.core.errors import RecipeError
from thalweg.core.kinds import check_kinds, kind_of
from thalweg.core.notices import notice
from thalweg.core.source import Splits
from thalweg.recipes.construction import placed
from thalweg.recipes.data_kinds.graph import Graph
from thalweg.recipes.data_kinds.images import Images
from thalweg.recipes.data_kinds.kind import DataKind
from thalweg.recipes.data_kinds.pairs import Pairs
from thalweg.recipes.data_kinds.sequences import Recordings, Tags, Text
from thalweg.recipes.data_kinds.speech import Speech
from thalweg.recipes.data_kinds.table import Table
from thalweg.recipes.settings import Section, Settings

TABLE, IMAGES = Table(), Images()
KINDS: tuple[DataKind, ...] = (TABLE, IMAGES, Text(), Pairs(), Tags(), Recordings(), Speech(), Graph())
"""In the order in which pages list them."""
LOOKED_FOR = (*KINDS[:3:-1], IMAGES, KINDS[3], KINDS[2], TABLE)
"""In the order in which a path is recognized: what has files of its own first, a table last, which is anything."""
BUILT_IN = tuple(name for kind in KINDS for name in kind.named)
"""Names of built-in data."""
PATHS = ("test", "validation", "edges")
"""Keys of [data] that name files, but where a kind has rules there."""


def kind_at(settings: Settings, folder: Path | None = None) -> DataKind:
    """The kind of the data that settings name.

    Raises `RecipeError` for keys of [data] that are for other kinds alone.
    """
    options = _with_target_found(settings["data"], folder)
    source = str(options["source"])
    path = found_from(folder, source)
    named = (kind for kind in KINDS if kind.built_in(source))
    kind = next(named, None) or next(kind for kind in LOOKED_FOR if kind.recognizes(path, options))
    _refuse_keys(settings, source if kind.built_in(source) else str(path), kind)
    return kind


def is_built_in(source: str) -> bool:
    """Whether a source is the name of built-in data, and no path.

    >>> is_built_in("digits"), is_built_in("names:de"), is_built_in("digits.csv")
    (True, True, False)
    """
    return any(kind.built_in(source) for kind in KINDS)


def kind_reading(encoding: Any) -> DataKind | None:
    """The kind whose encoding this is; None for what no settings describe."""
    return next((kind for kind in KINDS if kind.reads(encoding)), None)


def kind_of_source(source: Any) -> DataKind | None:
    """The kind of a source that knows its examples by name; None for bare tensors and the like."""
    known = hasattr(type(source), "rows")
    return kind_reading(getattr(source, "encoding", None)) if known else None


def encoding_from(plain: Mapping[str, Any]) -> Any:
    """The encoding that preprocessing.json holds, by the kind that it names; without one it is a table's."""
    words = {"texts": "text", "words": "tags", "frames": "recordings"}
    mark = plain.get("kind", "table")
    name = words.get(str(plain["schema"]["kind"]), "text") if mark == "sequences" else mark
    return next((kind for kind in KINDS if kind.name == name), TABLE).from_json(plain)


def load_splits(settings: Settings, folder: Path | None = None) -> Splits:
    """Train, validation and test, encoded by what the training examples say.

    Raises `RecipeError` naming file and line for keys of the wrong kind, and what the loaders raise.
    """
    _check_source(settings)
    kind = kind_at(settings, folder)
    check_data(settings, kind)
    options = _with_target_found(settings["data"], folder)
    source = str(options.pop("source"))
    if isinstance(options.get("features"), str):
        options["features"] = [name.strip() for name in options["features"].split(",")]
    spelled = kind.spelled
    for key in PATHS:
        argument = spelled.get(key, key)
        if options.get(key) is not None and (argument.endswith("_path") or key == "edges"):
            files = [options[key]] if isinstance(options[key], str) else options[key]
            found = [found_from(folder, file) for file in files]
            options[key] = found[0] if isinstance(options[key], str) else found
            if key == "test":
                _say_where_it_is_tested(found[0], found_from(folder, source))
    arguments = {spelled.get(key, key): value for key, value in options.items()}
    return kind.load(source if kind.built_in(source) else found_from(folder, source), arguments, settings)


def data_parameters() -> dict[str, dict[str, Parameter]]:
    """The keys of [data], for each kind by its name."""
    return {kind.name: kind.parameters() for kind in KINDS}


def check_data(settings: Settings, kind: DataKind) -> None:
    """Refuse a key of [data] whose value is of the wrong kind, naming file and line."""
    with placed(settings, "data", kind.loaders()[0], settings["data"]):
        check_kinds("[data]", kind.parameters(), settings["data"])


def found_from(folder: Path | None, name: str) -> Path:
    """A file that a recipe names: relative to the recipe's own folder.

    >>> found_from(Path("work"), "houses.csv").as_posix()
    'work/houses.csv'
    """
    return Path(name) if folder is None else folder / name


def _with_target_found(options: Section, folder: Path | None) -> Section:
    """The keys of [data] with a target that is a file beside the recipe found there; any other names a column."""
    target = options.get("target")
    if folder is None or not isinstance(target, str) or not (folder / target).is_file():
        return options
    return options | {"target": str(folder / target)}


def _check_source(settings: Settings) -> None:
    """Refuse values that no kind of data could have, before they decide which kind it is."""
    own = data_parameters().values()
    for name, value in settings["data"].items():
        having = [parameters for parameters in own if name in parameters]
        if having and not any(kind_of(parameters[name].annotation).holds(value) for parameters in having):
            with placed(settings, "data", dict, {name: value}):
                check_kinds("[data]", {name: having[0][name]}, {name: value})


def _refuse_keys(settings: Settings, source: str, kind: DataKind) -> None:
    """Refuse the keys of [data] that are for other kinds alone."""
    own = kind.parameters()
    for key in settings["data"]:
        if key not in own:
            other = next(each for each in KINDS if key in each.parameters())
            raise RecipeError(
                f"{settings.place('data', key)}{source} holds {kind.holds}, and '{key}' is for {other.plural}. Leave "
                "it out."
            )


def _say_where_it_is_tested(test: Path, source: Path) -> None:
    if test.exists() and source.exists() and test.samefile(source):
        notice(f"The test file {test} is the training file itself, so the test scores say nothing about new data.")
