"""Opening: the bytes of a table, wherever they lie, and those bytes as text.

Whatever is not text in UTF-8 is named for what it is, with the way to make a table of it.
"""

import gzip
import sys
import zlib
from pathlib import Path
from typing import Any

from thalweg.core.errors import DataError, did_you_mean
from thalweg.data.image_listing import is_image_folder
from thalweg.data.places import listed

TABLE = "A table needs a line of column names and a line for each example."
GZIP = b"\x1f\x8b"
SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".data", ".tab", ".parquet", ".gz")
FOREIGN = (
    (b"PK\x03\x04", "an Excel workbook or a zip archive", "Unpack it, or save the sheet as 'CSV UTF-8' in Excel."),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "Save the sheet as 'CSV UTF-8' in Excel."),
    (b"%PDF", "a PDF document", "Ask its author for the table as CSV."),
    (
        b"SQLite format 3",
        "a SQLite database",
        "Export a table: sqlite3 -header -csv FILE 'select * from NAME' > t.csv.",
    ),
    (b"BZh", "compressed by bzip2", "Unpack it with bunzip2; .csv.gz is read as it is."),
    (b"\xfd7zXZ", "compressed by xz", "Unpack it with unxz; .csv.gz is read as it is."),
    *(
        (start, "a web page or XML", "Download the raw file; a link to a page that shows a table gives the page.")
        for start in (b"<!", b"<?xml", b"<html", b"<HTML", b"<head", b"<body", b"<table", b"<svg")
    ),
    (b"{", "JSON", "Convert it: python -c \"import pandas as p; p.read_json('FILE').to_csv('t.csv', index=False)\"."),
    (b"[{", "JSON", "Convert it: python -c \"import pandas as p; p.read_json('FILE').to_csv('t.csv', index=False)\"."),
)


def open_bytes(path: Any, needed: str = TABLE) -> tuple[str, bytes]:
    """The name and the unpacked bytes of a path, an open file, or "-" for the standard input.

    `needed` is what the error about an empty file says that it should hold.

    >>> import io
    >>> open_bytes(io.StringIO("a,b"))
    ('the input', b'a,b')

    Raises `DataError` for a missing, unreadable, empty or damaged file, and for a folder.
    """
    if hasattr(path, "read"):
        content = path.read()
        data = content.encode() if isinstance(content, str) else bytes(content)
        name = str(getattr(path, "name", "the input")).replace("<stdin>", "the standard input")
    elif str(path) == "-":
        name, data = "the standard input", sys.stdin.buffer.read()
    else:
        name, data = str(path), _read(Path(path).expanduser())
    if data.startswith(GZIP):
        data = _unpacked(name, data)
    if not data.strip():
        raise DataError(f"{name} is empty. {needed}")
    return name, data


def as_text(name: str, data: bytes) -> str:
    r"""The bytes as text; a byte order mark goes.

    >>> as_text("t.csv", b"\xef\xbb\xbfa,b")
    'a,b'

    Raises `DataError` for what is no text in UTF-8, with the line, and names well-known formats.
    """
    for start, kind, mend in FOREIGN:
        if data.lstrip().startswith(start):
            raise DataError(f"{name} is {kind}, but a table is text in lines: CSV or TSV, or Parquet. {mend}")
    return decoded(name, data)


def decoded(name: str, data: bytes) -> str:
    r"""The bytes as text, whatever the text is; a byte order mark goes.

    >>> decoded("t.jsonl", b'\xef\xbb\xbf{"en": "a"}')
    '{"en": "a"}'

    Raises `DataError` for what is no text in UTF-8, with the line.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decoded_utf16(name, data)
    if (nul := data.find(b"\0")) >= 0:
        raise DataError(
            f"{name} holds a NUL byte in line {_line(data, nul)}, which no text has: the file is damaged, binary, or "
            "in UTF-16. A table is text in UTF-8. If it is UTF-16: iconv -f UTF-16LE -t UTF-8 FILE > new.csv; if the "
            "rest is good: tr -d '\\000' < FILE > new.csv."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.splitlines()[data[: error.start].count(b"\n")] if b"\n" in data else data
        raise DataError(
            f"{name} is not UTF-8: line {_line(data, error.start)} holds the byte 0x{data[error.start]:02x} "
            f"(in Windows-1252 the line reads {line[:60].decode('cp1252', 'replace')!r}). "
            "Convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE > new.csv, or save it in Excel as 'CSV UTF-8'."
        ) from None


def _read(path: Path) -> bytes:
    if path.is_dir():
        tables = _tables(path)
        if not tables and is_image_folder(path):
            raise DataError(
                f"{path} is a folder of images, and a table is one file. Images are trained on by thalweg train "
                f"{path}, or from Python by thalweg.load."
            )
        mend = f"Name one of its tables: {listed(tables)}." if tables else "It holds no table (.csv, .tsv, .parquet)."
        raise DataError(f"{path} is a folder, but a table is one file. {mend}")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        folder = path.parent
        if path.is_symlink():
            raise DataError(f"{path} is a link to {path.readlink()}, which does not exist. Give the file.") from None
        if not folder.is_dir():
            mend = f" The folder {folder} does not exist either; paths count from {Path.cwd()}."
        else:
            mend = (
                did_you_mean(path.name, _tables(folder))
                or f" The folder {folder.absolute()} holds no table, and no folder of that name."
            )
        raise DataError(f"There is no file {path}.{mend}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Check that it is a file and may be read.") from None


def _tables(folder: Path) -> list[str]:
    try:
        return sorted(file.name for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    except OSError:
        return []


def _unpacked(name: str, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{name} is compressed by gzip but damaged or cut short ({error}). Copy or download it again."
        ) from None


def _decoded_utf16(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-16")
    except UnicodeDecodeError:
        raise DataError(
            f"{name} begins like UTF-16 but is damaged. A table is text in UTF-8: save it anew as 'CSV UTF-8'."
        ) from None


def _line(data: bytes, position: int) -> int:
    return data[:position].count(b"\n") + 1
