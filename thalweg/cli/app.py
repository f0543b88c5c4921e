"""The command `thalweg`: its subcommands, and what every one of them does with errors and interrupts.

Nothing here imports torch; a subcommand imports what it needs when it runs, so that `thalweg --help` is instant.
"""

import errno
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any

from cyclopts import App, CycloptsError
from rich.console import Console

from thalweg import __version__
from thalweg.cli.compare import compare
from thalweg.cli.diagnose import diagnose
from thalweg.cli.evaluate import evaluate
from thalweg.cli.exits import FAILED, FINE, USAGE, Terminated, interrupted
from thalweg.cli.improve import improve
from thalweg.cli.landscape import landscape
from thalweg.cli.predict import predict
from thalweg.cli.report import report
from thalweg.cli.resume import resume
from thalweg.cli.runs import runs
from thalweg.cli.study import study
from thalweg.cli.train import train
from thalweg.core.errors import ThalwegError, WriteError

HELP = """Train a network, find out what holds it back, and cure it.

A SUBJECT is built-in data (digits, iris, wine, breast_cancer, diabetes, karate, names:de), a data file (houses.csv
--target price), a file of pairs of texts, a folder of images with a folder for each class, a recipe (recipe.toml,
recipe.py), a case (case:too-small), or a run. A RUN is a run's id or the beginning of it, its name, its folder or a
file in it (its report), or `last`.

Results go to stdout, progress and notices to stderr. Exit codes: 0 fine, 1 the run failed, 2 wrong usage or recipe,
3 a --fail-if holds, 130 or 143 interrupted.
"""

app = App(name="thalweg", help=HELP, version=__version__, help_format="plaintext", suppress_keyboard_interrupt=False)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
COMMANDS = (train, resume, diagnose, improve, evaluate, predict, landscape, report, compare, runs, study)
for command in COMMANDS:
    app.command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; the console script passes it to the shell."""
    _open_closed_streams()
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.WARNING)
    previous = _handled() if _in_main_thread() else {}
    try:
        code = _exit_code(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as interrupt:
        said = "terminated" if isinstance(interrupt, Terminated) else "interrupted"
        print(" ".join([said, *getattr(interrupt, "__notes__", ())]), file=sys.stderr)
        return interrupted(interrupt)
    except ThalwegError as error:
        print(f"thalweg: {error}", file=sys.stderr)
        return FAILED if isinstance(error, WriteError) else USAGE
    except OSError as error:
        return _about_stdout(error)
    except Exception:
        traceback.print_exc()
        return FAILED
    finally:
        logging.getLogger("thalweg").setLevel(logging.NOTSET)  # --quiet holds for one command
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exit_code(arguments: list[str]) -> int:
    errors = Console(stderr=True)
    try:
        code: Any = app(
            arguments, exit_on_error=False, print_error=True, error_console=errors, result_action="return_value"
        )
    except CycloptsError:
        return USAGE
    return code if isinstance(code, int) else 0


def _about_stdout(error: OSError) -> int:
    """The exit code where stdout is full, or its reader has gone; another error is a fault, and shown whole."""
    if not isinstance(error, BrokenPipeError):
        if error.errno not in NO_ROOM or error.filename is not None:
            traceback.print_exc()
            return FAILED
        print(
            f"thalweg: stdout cannot be written: {error.strerror}. Free some space there, or send it to another place.",
            file=sys.stderr,
        )
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries once more as it ends
    return FINE if isinstance(error, BrokenPipeError) else FAILED


def _open_closed_streams() -> None:
    """A stream that was closed (`<&-`, `>&-`) is none for Python: read it as empty, and let what is written go."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


def _handled() -> dict[int, Any]:
    """SIGTERM, and a terminal that closes (unless nohup had that ignored), end a command as an interrupt does."""
    numbers = [signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        numbers.append(signal.SIGHUP)
    return {number: signal.signal(number, _terminate) for number in numbers}


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
