"""thalweg predict: the rows of a file, or images, with a run's predictions beside them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from thalweg.cli.options import File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from thalweg.recipes.decoded import Decoding
    from thalweg.training import Run


TABLES = (".csv", ".tsv", ".tab")
"""Endings of an output that is a table, also where outputs are texts."""


def predict(
    run: str,
    file: File,
    /,
    *more: str,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    proba: Annotated[bool, Parameter(negative="")] = False,
    calibrated: Annotated[bool, Parameter(negative="")] = False,
    beam: int | None = None,
    nbest: int | None = None,
    length_penalty: float | None = None,
    longest: int | None = None,
    out: Path = Path("runs"),
    device: str = "auto",
) -> int:
    """Predict the rows of a file, images, words, recordings or nodes; the result is CSV: own columns, then prediction.

    Of words with tags it is the file itself with other tags, where --output ends in .conllu or .conll; of pairs a line
    for each source, or a table where --output ends in .csv or .tsv; of speech a line for each recording where it ends
    in .txt.

    Parameters
    ----------
    run
        A run's id or the beginning of it, its name, its folder, or `last`.
    file
        A table with the columns that the run was trained on; - reads it from stdin. Of a run on images: a folder, an
        image, a table of paths, an array in a file. On recordings a folder or one of them, on words with tags a file of
        words, on a graph a folder with nodes and edges: a row for each node; on pairs a file with a source a line.
    more
        More images, recordings or folders of them.
    output
        A file to write instead of stdout.
    proba
        The probability of every class.
    calibrated
        Probabilities at the temperature that was fitted on validation.
    beam
        Of a run on pairs: how many outputs are searched side by side (5); 1 takes the likeliest token at each step.
    nbest
        Of a run on pairs: how many outputs of each source are given (1), each after the score it is ranked by.
    length_penalty
        Of a run on pairs: 1 ranks outputs by their mean log-likelihood a token, 0 by its sum (0.6).
    longest
        Of a run on pairs: the most tokens of an output (twice those of its source and 20, of trees as many a
        word as training had and 20).
    out
        The folder that holds the run folders.
    device
        auto, cpu, cuda or mps.
    """
    from thalweg.cli.decoding import decoding_shown
    from thalweg.cli.find import find_run
    from thalweg.core.files import check_writable, write_bytes
    from thalweg.recipes import load_run
    from thalweg.recipes import predict as predict_table
    from thalweg.recipes.decoded import Decoding
    from thalweg.recipes.predict import open_rows, translates, writer_of

    if output is not None:
        check_writable(output)
    decoding = decoding_of(beam=beam, nbest=nbest, length_penalty=length_penalty, longest=longest)
    loaded = load_run(find_run(run, out))
    if (
        not more
        and translates(loaded)
        and not (proba or calibrated)
        and (output is None or output.suffix.lower() not in TABLES)
    ):
        return write_lines(loaded, file, output, decoding or Decoding(), device)
    rows = open_rows(loaded, file, *more)
    written = writer_of(loaded, rows, output, proba)
    with decoding_shown(quiet=False):
        frame = predict_table(loaded, rows, proba=proba, calibrated=calibrated, decoding=decoding, device=device)
    data = written(frame)
    if output is None:
        sys.stdout.write(data.decode())
    else:
        write_bytes(output, data)
    return 0


def decoding_of(**said: int | float | None) -> "Decoding | None":
    """What the options say of decoding, None where they say nothing; a beam is as wide as outputs are asked for."""
    from thalweg.recipes.decoded import Decoding

    given: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    if "nbest" in given and "beam" not in given:
        given["beam"] = max(Decoding().beam, given["nbest"])
    return Decoding(**given) if given else None


def write_lines(run: "Run", file: str, output: Path | None, decoding: "Decoding", device: str) -> int:
    """Write the outputs for the lines of a file, a line each; of several for one line each after its score and a tab.

    What comes from the standard input is answered line by line, so that a pipe or a person need not wait for its end.
    """
    from thalweg.core.files import write_bytes
    from thalweg.recipes.data_kinds import check_ending
    from thalweg.recipes.predict import translate

    check_ending(output)
    lines = typed_lines() if file == "-" else lines_in(file)
    several = decoding.nbest > 1
    made: list[str] = []
    for outputs in translate(run, lines, decoding, device):
        told = [f"{one.score:.4f}\t{one.text}" if several else one.text for one in outputs]
        if output is None:
            sys.stdout.writelines(f"{line}\n" for line in told)
            sys.stdout.flush()
        else:
            made += told
    if output is not None:
        write_bytes(output, "".join(f"{line}\n" for line in made).encode())
    return 0


def typed_lines() -> "Iterator[str]":
    """The lines of the standard input as they come; a line ends with LF or CR LF and with nothing else.

    Raises `DataError` naming the line that is not UTF-8, or holds a NUL, as of a file.
    """
    from thalweg.core.errors import DataError

    for number, line in enumerate(getattr(sys.stdin, "buffer", sys.stdin), 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8") if isinstance(line, bytes) else line
        except UnicodeDecodeError as error:
            raise DataError(
                f"Line {number} of the standard input is not UTF-8 ({error.reason} at byte {error.start + 1}). Convert "
                "it, for instance with iconv -f latin1 -t utf-8."
            ) from error
        if "\0" in text:
            raise DataError(
                f"Line {number} of the standard input holds a NUL, which no text has: what comes is binary, or UTF-16. "
                "If the rest is good: tr -d '\\000' before thalweg predict."
            )
        yield text.removesuffix("\n").removesuffix("\r")


def lines_in(file: str) -> list[str]:
    """The sources that a file holds, a line or a row each; an empty one stays in its place."""
    from thalweg.data.source_reading import read_sources

    return [text or "" for text in read_sources(Path(file), "source")["source"]]
