"""The whole tree keeps the rules of the house, and each rule can fail."""

import ast
import subprocess
from collections.abc import Callable
from importlib import import_module
from textwrap import indent
from types import ModuleType

import pytest
from house import (
    MAX_FILE,
    MAX_FUNCTION,
    ROOT,
    TOO_LONG,
    Function,
    heavy_imports,
    imports_go_down,
    leftovers,
    length,
    more_than_reexports,
    nameless,
    read_floors,
    too_long,
    trusting,
    undocumented,
    without_example,
)

PACKAGE, TESTS = (
    sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / at).rglob("*.py")) for at in ("thalweg", "tests")
)
HELP = "sys.argv = ['thalweg', '--help']"
Rule = Callable[[str, str], list[str]]


def kept_files() -> list[str]:
    """What git tracks, or would."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"not a git checkout: {done.stderr.strip()}")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def offences(rule: Rule, paths: list[str]) -> str:
    found = []
    for path in paths:
        try:
            source = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture
            continue
        found += [f"{path}:{offence}" for offence in rule(path, source)]
    return "\n".join(found)


@pytest.mark.parametrize("rule", [imports_go_down, more_than_reexports, nameless, too_long, trusting, undocumented])
def test_the_package_keeps(rule: Rule) -> None:
    assert offences(rule, PACKAGE) == ""


def test_the_tests_have_names() -> None:
    assert offences(nameless, TESTS) == ""


def test_nothing_is_left_over() -> None:
    assert offences(leftovers, kept_files()) == ""


def test_public_things_show_an_example() -> None:
    assert without_example("thalweg", import_module("thalweg")) == []


@pytest.mark.parametrize("statement", ["import thalweg", f"{HELP}; from thalweg.cli import main; main()"])
def test_starting_is_quick(statement: str) -> None:
    assert heavy_imports(statement) == set()


def test_exceptions_for_length_are_still_needed() -> None:
    for name in TOO_LONG:
        path, _, function = name.partition(":")
        source = (ROOT / path).read_text()
        nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, Function) and n.name == function]
        lines, most = (max(map(length, nodes)), MAX_FUNCTION) if function else (len(source.splitlines()), MAX_FILE)
        assert lines > most, f"{name} has {lines} lines, take it off TOO_LONG"


# --- each rule can fail -----------------------------------------------------------------------------------------------

MLP, LAZY = "thalweg/nn/mlp.py", "def __getattr__(name):\n    return name\n"
LONG = "def f():\n" + "    x = 1\n" * 60
EXPLAINED = 'def f():\n    """' + "Formula.\n" * 70 + '    """\n    return 1\n'


@pytest.mark.parametrize(
    ("rule", "path", "source", "words"),
    [
        (imports_go_down, MLP, "def f():\n    from ..loss import mse", "2: nn imports loss"),
        (
            imports_go_down,
            MLP,
            "if TYPE_CHECKING:\n    from thalweg.training.loop import epoch",
            "2: nn imports training",
        ),
        (imports_go_down, "thalweg/nn/__init__.py", "from ..data import digits", "nn imports data"),
        (imports_go_down, "thalweg/training/loop.py", "import thalweg.nn.mlp", "training imports nn"),
        (imports_go_down, "thalweg/measure.py", "from .training import train", "measure imports training"),
        (
            imports_go_down,
            "thalweg/report/page.py",
            "import_module('..study.all', __package__)",
            "report imports study",
        ),
        (imports_go_down, "thalweg/core/nest.py", "import thalweg", "front door"),
        (imports_go_down, "thalweg/remedy/proof.py", "from thalweg import train", "front door"),
        (imports_go_down, "thalweg/training/loop.py", "from .. import core", "front door"),
        (imports_go_down, "thalweg/attic/old.py", "", "attic is not in floors.txt"),
        (more_than_reexports, "thalweg/nn/__init__.py", "from .mlp import MLP\nWIDTH = 3", "2: more than"),
        (more_than_reexports, "thalweg/nn/__init__.py", LAZY, "1: more than"),
        (more_than_reexports, "thalweg/__init__.py", "def train():\n    pass", "1: more than"),
        (nameless, "thalweg/nn/utils.py", "", "utils names nothing"),
        (nameless, "thalweg/common/mlp.py", "", "common names nothing"),
        (nameless, "thalweg/core/_base.py", "", "base names nothing"),
        (too_long, MLP, "\n" * 351, "351 lines"),
        (too_long, MLP, LONG, "1: f has 61 lines"),
        (too_long, MLP, "class A:\n" + indent(LONG, "    "), "2: f has 61 lines"),
        (trusting, MLP, "def f():\n    import pickle", "2: imports pickle"),
        (trusting, MLP, "from pickle import loads", "imports pickle.loads"),
        (trusting, MLP, "from torch import load", "imports torch.load"),
        (trusting, MLP, "torch.load(path)", "weights_only=True"),
        (trusting, MLP, "torch.load(path, weights_only=flag)", "weights_only=True"),
        (trusting, MLP, "np.load(path, allow_pickle=True)", "np.load unpickles"),
        (trusting, MLP, "pd.read_pickle(path)", "pd.read_pickle unpickles"),
        (undocumented, MLP, "def mlp():\n    pass", "1: mlp is public"),
        (undocumented, MLP, "__all__ = ['_A']\nclass _A:\n    pass", "2: _A is public"),
        (leftovers, "docs/start.md", "\nopen '/" + "home/ada/data.csv'", "2: /home/ada"),
        (leftovers, "docs/start.md", "cd /" + "root/thalweg", "use a relative path"),
        (leftovers, MLP, "# TO" + "DO: later", "open an issue"),
    ],
)
def test_a_rule_catches(rule: Rule, path: str, source: str, words: str) -> None:
    (offence,) = rule(path, source)
    assert words in offence


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (imports_go_down, MLP, "import torch\nfrom ..core.nest import Nest\nfrom .norm import Norm"),
        (imports_go_down, "thalweg/__init__.py", "from .training import train"),
        (imports_go_down, "thalweg/cli/train.py", "from thalweg import train\nfrom ..study import claims"),
        (imports_go_down, "thalweg/recipes/names.py", "import_module(name)"),
        (more_than_reexports, "thalweg/nn/__init__.py", "'nn'\nfrom .mlp import MLP\n__all__ = ['MLP']"),
        (more_than_reexports, "thalweg/__init__.py", "if TYPE_CHECKING:\n    from .nn import MLP\nROOMS = {}\n" + LAZY),
        (nameless, "thalweg/measure/base_rate.py", ""),
        (too_long, MLP, EXPLAINED),
        (trusting, MLP, "torch.load(path, weights_only=True)\njson.load(file)\nnp.load(path, allow_pickle=False)"),
        (undocumented, MLP, "__all__ = ['f']\ndef f():\n    'f'\ndef g():\n    pass"),
        (undocumented, MLP, "def _f():\n    pass"),
        (leftovers, "docs/start.md", "https://example.org/work/ ~/work/ framework/root/x"),
    ],
)
def test_a_rule_passes(rule: Rule, path: str, source: str) -> None:
    assert rule(path, source) == []


def test_floors_with_a_cycle_are_refused() -> None:
    with pytest.raises(ValueError, match="only what stands above"):
        read_floors("core: nn\nnn: core")


def test_a_missing_example_is_seen() -> None:
    room = ModuleType("room")
    vars(room).update(__all__=["Rule", "path", "WIDTH"], Rule=int.__class__("Rule", (), {}), path=offences, WIDTH=3)
    assert without_example("room", room) == ["room.Rule has no example (>>>)", "room.path has no example (>>>)"]


def test_a_heavy_import_is_seen() -> None:
    assert heavy_imports("import scipy; sys.exit()") == {"scipy"}
