"""For every test and doctest: shapes and types are checked, pictures need no screen, and torch keeps to one thread."""

import os

os.environ["MPLBACKEND"] = "Agg"
if not os.environ.get("THALWEG_CUDA"):  # numbers are compared on one kind of machine; tests/test_gpu.py asks for a GPU
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # no pool of workers for each process that runs tests, but where a test asks

import pytest
import torch
import typechecking

# Before anything imports thalweg: annotations such as Float[Tensor, "batch time"] then raise where they do not hold.
typechecking.install()

# Workers would fight over the cores; and sums over several threads differ in the last bits from machine to machine.
torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """In every test the first calls of each function are checked."""
    typechecking.begin_test()
