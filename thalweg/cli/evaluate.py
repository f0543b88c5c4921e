"""thalweg evaluate: a run is judged on a file, or on a folder of images, recordings or a graph."""

import json
from pathlib import Path

from thalweg.cli.exits import check_conditions, gate
from thalweg.cli.options import Conditions, File, Json


def evaluate(
    run: str,
    file: File,
    /,
    *,
    target: str | None = None,
    out: Path = Path("runs"),
    device: str = "auto",
    fail_if: Conditions = (),
    json_: Json = False,
) -> int:
    """Judge a run on a data file that holds the target too, or on a folder of images, recordings or a graph.

    Parameters
    ----------
    run
        A run's id or the beginning of it, its name, its folder, or `last`.
    file
        A table with the columns that the run was trained on, target included; - reads it from stdin. Of a run on
        images: a folder with a folder for each class, a table of paths, arrays in a file.
    target
        Of a run on pairs: the file of the targets, line by line, where it is not found by the name of the first.
    out
        The folder that holds the run folders.
    device
        auto, cpu, cuda or mps.
    fail_if
        Exit with code 3 where this holds, as in --fail-if 'accuracy<0.9'.
    json_
        One JSON document on stdout instead of a table.
    """
    from thalweg.cli.decoding import decoding_shown
    from thalweg.cli.find import find_run
    from thalweg.cli.show import scores_table, wide_console
    from thalweg.core.files import plain
    from thalweg.recipes import load_run
    from thalweg.recipes.conclusion import added_names, quantities
    from thalweg.recipes.predict import judge_file

    check_conditions(fail_if)
    path = find_run(run, out)
    loaded = load_run(path)
    assert loaded.recipe is not None
    check_conditions(fail_if, (*quantities(loaded.recipe), *added_names(loaded.preprocessing)))
    with decoding_shown(quiet=False):
        scores = judge_file(loaded, file, device, target)
    if json_:
        named = {name: dict(zip(("value", "low", "high"), score, strict=True)) for name, score in scores.items()}
        print(json.dumps(plain({"run": path.name, "path": str(path), "file": file, "metrics": named}), indent=2))
    else:
        wide_console().print(scores_table({file: scores}))
    values = {name: score[0] for name, score in scores.items()}
    return gate(fail_if, values)
