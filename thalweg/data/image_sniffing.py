"""Sniffing: whether what someone points at holds images, or a table."""

import gzip
import re
import zlib
from pathlib import Path

from thalweg.core.errors import DataError
from thalweg.data.image_files import ENDINGS, is_image
from thalweg.data.image_listing import is_image_folder, path_column
from thalweg.data.reading import read_table

TABLES = (".csv", ".tsv", ".txt", ".dat", ".data", ".tab", ".parquet")
SNIFFED = 2**16
"""Bytes at the beginning of a table in which paths of images are looked for."""
NAMED = re.compile(
    rb"[^\s,;|\"']\.(%s)(?=[\s,;|\"']|$)" % b"|".join(item[1:].encode() for item in ENDINGS), re.IGNORECASE
)
IDX = re.compile(r"images[-.]idx[34]-ubyte(\.gz)?$", re.IGNORECASE)
"""How the files of MNIST and its like are called."""


def holds_images(path: Path, columns_asked_for: bool = False, header: bool = True) -> bool:
    """Whether a path is a folder of images, an image, a file of arrays, or a table with paths of images.

    A table whose columns are asked for by name (`features`) is a table.

    >>> holds_images(Path("x.npz")), holds_images(Path("houses.csv"))
    (True, False)
    """
    if path.is_dir():
        items = list(path.iterdir())
        images = is_image_folder(path) or any(is_image(item) or is_arrays(item) for item in items)
        return images or not any(item.suffix.lower() in TABLES for item in items)
    if is_arrays(path) or is_image(path):
        return True
    return not columns_asked_for and names_images(path, header)


def is_arrays(path: Path) -> bool:
    """Whether a file holds arrays of images, by its name."""
    return path.suffix.lower() == ".npz" or IDX.search(path.name) is not None


def names_images(path: Path, header: bool = True) -> bool:
    """Whether a table has a column of paths of images, some of which are there, or nothing else that could be learned.

    A table that cannot be read is left to whoever reads it as such.
    """
    if not _may_name(path):
        return False
    try:
        frame = read_table(path, header=header)
    except DataError:
        return False
    column = path_column(frame)
    if column is None:
        return False
    there = any((path.parent / text).is_file() for text in frame[column].dropna())
    return there or len(frame.columns) <= 2


def _may_name(path: Path) -> bool:
    """Whether the beginning of a file holds what could be paths of images."""
    try:
        with path.open("rb") as file:
            data = file.read(SNIFFED)
        if data.startswith(b"\x1f\x8b"):
            with gzip.open(path) as packed:
                data = packed.read(SNIFFED)
    except (OSError, EOFError, zlib.error):
        return False
    return data.startswith(b"PAR1") or NAMED.search(data) is not None
