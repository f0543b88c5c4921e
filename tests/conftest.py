"""What tests ask for by name."""

import os
import signal
from pathlib import Path

import pytest


@pytest.fixture
def realdata() -> Path:
    """The folder of real data sets that THALWEG_DATA names; without it the test is skipped."""
    return folder_or_skip()


def folder_or_skip() -> Path:
    folder = os.environ.get("THALWEG_DATA")
    if not folder:
        pytest.skip("THALWEG_DATA names no folder of real data")
    assert Path(folder).is_dir(), f"THALWEG_DATA={folder} is not a folder"
    return Path(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for `realdata` carries the mark, so that `-m realdata` runs all of them and no other."""
    for item in items:
        if "realdata" in getattr(item, "fixturenames", ()):
            item.add_marker("realdata")


def pytest_configure(config: pytest.Config) -> None:
    """`make battery` runs the long tests too, `make test` leaves them out; Ctrl-C reaches tests wherever they run."""
    if not os.environ.get("THALWEG_BATTERY") and not config.option.markexpr:
        config.option.markexpr = "not battery"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell gives that to what runs in its background
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that carries the mark alone is skipped just the same."""
    if item.get_closest_marker("realdata"):
        folder_or_skip()
