"""Sniffing: whether what someone points at holds images, or a table."""

import gzip
import re
from pathlib import Path

from thalweg.data.image_files import ENDINGS, is_image
from thalweg.data.image_listing import is_image_folder

TABLES = (".csv", ".tsv", ".txt", ".dat", ".data", ".tab", ".parquet")
SNIFFED = 2**16
"""Bytes at the beginning of a table in which paths of images are looked for."""
NAMED = re.compile(rb"[^\s,;|\"']\.(%s)(?=[\s,;|\"']|$)" % b"|".join(item[1:].encode() for item in ENDINGS), re.IGNORECASE)
IDX = re.compile(r"images[-.]idx[34]-ubyte(\.gz)?$", re.IGNORECASE)
"""How the files of MNIST and its like are called."""


def holds_images(path: Path, columns_asked_for: bool = False) -> bool:
    """Whether a path is a folder of images, an image, a file of arrays, or a table with paths of images.

    A table whose columns are asked for by name (`features`) is a table.

    >>> holds_images(Path("x.npz")), holds_images(Path("houses.csv"))
    (True, False)
    """
    if path.is_dir():
        tables = any(item.suffix.lower() in TABLES for item in path.iterdir())
        return not tables or is_image_folder(path) or any(map(is_image, path.iterdir()))
    if is_arrays(path) or is_image(path):
        return True
    return not columns_asked_for and names_images(path)


def is_arrays(path: Path) -> bool:
    """Whether a file holds arrays of images, by its name."""
    return path.suffix.lower() == ".npz" or IDX.search(path.name) is not None


def names_images(path: Path) -> bool:
    """Whether a table names files of images that are there."""
    try:
        with path.open("rb") as file:
            data = file.read(SNIFFED)
    except OSError:
        return False
    if data.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(path) as packed:
                data = packed.read(SNIFFED)
        except (OSError, EOFError):
            return False
    if data.startswith(b"PAR1"):
        return False
    return len(NAMED.findall(data)) > 1
