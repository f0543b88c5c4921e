"""thalweg predict: the rows of a file, or images, with a run's predictions beside them."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thalweg.cli.options import File


def predict(
    run: str,
    file: File,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    proba: Annotated[bool, Parameter(negative="")] = False,
    calibrated: Annotated[bool, Parameter(negative="")] = False,
    out: Path = Path("runs"),
    device: str = "auto",
) -> int:
    """Predict the rows of a file, images, words, recordings or nodes; the result is CSV: own columns, then prediction.

    Of words with tags it is the file itself with other tags, where --output ends in .conllu or .conll.

    Parameters
    ----------
    run
        A run's id or the beginning of it, its name, its folder, or `last`.
    file
        A table with the columns that the run was trained on; - reads it from stdin. Of a run on images: a folder, an
        image, a table of paths, an array in a file. On recordings a folder or one of them, on words with tags a file of
        words, on a graph a folder with nodes and edges: a row for each node.
    output
        A file to write instead of stdout.
    proba
        The probability of every class.
    calibrated
        Probabilities at the temperature that was fitted on validation.
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
    from thalweg.recipes.predict import open_rows, writer_of

    if output is not None:
        check_writable(output)
    loaded = load_run(find_run(run, out))
    rows = open_rows(loaded, file)
    written = writer_of(loaded, rows, output, proba)
    with decoding_shown(quiet=False):
        frame = predict_table(loaded, rows, proba=proba, calibrated=calibrated, device=device)
    data = written(frame)
    if output is None:
        sys.stdout.write(data.decode())
    else:
        write_bytes(output, data)
    return 0
