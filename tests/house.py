"""The rules of the house. Each takes a path and its text and returns what offends, as `line: what - mend`;
`test_house.py` holds them over the whole tree, and shows that each can fail.
"""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).parent.parent
Function = ast.FunctionDef | ast.AsyncFunctionDef

ROOF = {"thalweg/__init__.py", "thalweg/__main__.py"}  # above the floors: they open the doors
NAMELESS = {"utils", "util", "common", "helpers", "helper", "misc", "base", "manager"}
HEAVY = {"torch", "pandas", "sklearn", "scipy", "torchmetrics", "matplotlib"}  # 0.5 to 1.7 s each: not for `--help`
MAX_FILE, MAX_FUNCTION = 350, 60
TOO_LONG: dict[str, str] = {}  # "thalweg/room/file.py" or "thalweg/room/file.py:function" -> why it may be


# --- floors -----------------------------------------------------------------------------------------------------------


def read_floors(text: str) -> dict[str, set[str]]:
    """Each room of `floors.txt`, with the rooms it may import."""
    rooms: dict[str, set[str]] = {}
    groups: dict[str, set[str]] = {}
    for line in (line.partition("#")[0] for line in text.splitlines()):
        if not line.strip():
            continue
        name, sign, names = (part.strip() for part in re.split("([:=])", line, maxsplit=1))
        unknown = [below for below in names.split() if below not in rooms and below not in groups]
        if unknown:
            raise ValueError(f"floors.txt: {name} names {unknown}, but a line names only what stands above it")
        members = set().union(*(groups.get(below, {below}) for below in names.split()))
        (rooms if sign == ":" else groups)[name] = members
    return rooms


def imports(path: str, source: str) -> Iterator[tuple[int, str]]:
    """The (line, dotted name) of everything imported anywhere in a file; relative names are made absolute."""
    *package, _ = PurePosixPath(path).parts

    def absolute(name: str) -> str:
        bare = name.lstrip(".")
        dots = len(name) - len(bare)
        above = package[: len(package) - dots + 1] if dots else []
        return ".".join([*above, *filter(None, [bare])])

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute("." * node.level + (node.module or ""))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and call_name(node).endswith(("import_module", "__import__")):
            names = (getattr(argument, "value", None) for argument in node.args)
            yield from ((node.lineno, absolute(name)) for name in names if isinstance(name, str))


def broken_floors(path: str, source: str, floors: dict[str, set[str]]) -> list[str]:
    if path in ROOF:
        return []
    room = PurePosixPath(path).parts[1].removesuffix(".py")
    if room not in floors:
        return [f"1: the room {room} is not in floors.txt - say there what it may import"]
    found = []
    for line, name in imports(path, source):
        top, *inside = name.split(".")
        if top != "thalweg":
            continue
        if len(inside) < 2:  # `import thalweg`, `from thalweg import train`, `from .. import nn`
            if room != "cli":
                found.append(f"{line}: {name} by the front door - import from the room: from thalweg.nn import MLP")
        elif inside[0] not in floors[room] | {room}:
            found.append(f"{line}: {room} imports {inside[0]} - floors.txt lets it import {sorted(floors[room])}")
    return found


FLOORS = read_floors((ROOT / "floors.txt").read_text())


def imports_go_down(path: str, source: str) -> list[str]:
    return broken_floors(path, source, FLOORS)


# --- files and functions ----------------------------------------------------------------------------------------------


def more_than_reexports(path: str, source: str) -> list[str]:
    """A folder's `__init__.py` is a docstring, imports and `__all__`; the top one may also look names up lazily."""
    top = path == "thalweg/__init__.py"

    def fine(node: ast.stmt) -> bool:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
                return True
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                return top or name == "__all__"
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body, orelse=[]):
                return all(map(fine, body))
            case ast.FunctionDef(name=name):
                return top and name in {"__getattr__", "__dir__"}
        return False

    body = ast.parse(source).body if path.endswith("/__init__.py") else []
    return [f"{node.lineno}: more than re-exports - move it to a file with a name" for node in body if not fine(node)]


def nameless(path: str, source: str) -> list[str]:
    names = [part.removesuffix(".py").strip("_") for part in PurePosixPath(path).parts]
    return [f"1: {name} names nothing - name the idea inside" for name in names if name in NAMELESS]


def too_long(path: str, source: str) -> list[str]:
    lines = len(source.splitlines())
    long_file = lines > MAX_FILE and path not in TOO_LONG
    found = [f"1: {lines} lines, at most {MAX_FILE} - look for the second idea inside"] if long_file else []
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))
    return found + [
        f"{function.lineno}: {function.name} has {length(function)} lines, at most {MAX_FUNCTION} - split it"
        for function in functions
        if length(function) > MAX_FUNCTION and f"{path}:{function.name}" not in TOO_LONG
    ]


def length(function: Function) -> int:
    """Lines of a function without its docstring, whose formula and example may take the room they need."""
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) else 0
    return function.end_lineno - function.lineno + 1 - docstring


def trusting(path: str, source: str) -> list[str]:
    """Reading a file must never run it: no pickle, and `torch.load` only with a plain `weights_only=True`."""
    found = [
        f"{line}: imports {name} - write safetensors or JSON"
        for line, name in imports(path, source)
        if name.partition(".")[0] in {"pickle", "dill", "shelve"} or name in {"torch.load", "joblib.load"}
    ]
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        said = {key.arg: getattr(key.value, "value", None) for key in call.keywords}
        name = call_name(call)
        if name == "torch.load" and said.get("weights_only") is not True:
            found.append(f"{call.lineno}: torch.load runs what it reads - say weights_only=True")
        if name in {"joblib.load", "pd.read_pickle"} or said.get("allow_pickle", False) is not False:
            found.append(f"{call.lineno}: {name} unpickles - write safetensors or JSON")
    return found


def call_name(call: ast.Call) -> str:
    return ast.unparse(call.func) if isinstance(call.func, ast.Name | ast.Attribute) else ""


# --- documentation ----------------------------------------------------------------------------------------------------


def undocumented(path: str, source: str) -> list[str]:
    """Public functions and classes without a docstring: those in `__all__`; where there is none, all without a `_`."""
    body = ast.parse(source).body
    named = [node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "__all__"]
    public = ast.literal_eval(named[0]) if named else None
    return [
        f"{node.lineno}: {node.name} is public and has no docstring"
        for node in body
        if isinstance(node, Function | ast.ClassDef) and ast.get_docstring(node) is None
        if (node.name in public if public is not None else not node.name.startswith("_"))
    ]


def without_example(name: str, thing: Any) -> list[str]:
    """Functions and classes reachable from `__all__` whose docstring has no `>>>`."""
    if inspect.ismodule(thing):
        inner = getattr(thing, "__all__", [])
        return [miss for part in inner for miss in without_example(f"{name}.{part}", getattr(thing, part))]
    needs = (inspect.isfunction(thing) or inspect.isclass(thing)) and ">>>" not in (thing.__doc__ or "")
    return [f"{name} has no example (>>>)"] if needs else []


# --- leftovers and weight ---------------------------------------------------------------------------------------------


def leftovers(path: str, source: str) -> list[str]:
    """Paths of someone's machine, and notes to oneself."""
    mends = {
        r"(?<![\w.~-])/(?:work|root|home/[\w.-]+)/": "use a relative path",
        r"\b(?:TO[D]O|FIX[M]E)\b": "do it, or open an issue",
    }
    return [
        f"{number}: {match[0]} - {mend}"
        for number, line in enumerate(source.splitlines(), 1)
        for pattern, mend in mends.items()
        for match in re.finditer(pattern, line)
    ]


def heavy_imports(statement: str) -> set[str]:
    """The slow libraries that a fresh interpreter has loaded after `statement`."""
    code = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\nprint('LOADED', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stdout.rpartition("LOADED")[2].split())
