"""predict: (Run, table, images, recordings, graph) -> predictions beside the rows, by the run's own preprocessing."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thalweg.core.device import resolve_device
from thalweg.core.errors import RecipeError, RunError
from thalweg.core.files import damaged, read_object
from thalweg.core.finite import all_finite
from thalweg.core.nest import Nest, to_device
from thalweg.core.notices import notice
from thalweg.core.objective import apply
from thalweg.core.source import Source
from thalweg.data.places import listed
from thalweg.recipes.data_kinds import DataKind, kind_reading
from thalweg.training import Run, evaluate
from thalweg.training.evaluate import Scores

if TYPE_CHECKING:
    from pandas import DataFrame


def predict(
    run: Run, table: Any, *, proba: bool = False, calibrated: bool = False, device: str = "auto"
) -> "DataFrame":
    """The rows of a table (a path or a DataFrame) with `prediction`, and for classes `probability`, beside them.

    Of a run on images: the images of a folder, a file, or a table of paths, each with its path or row; on recordings
    likewise; on sentences with tags a file of words, each with a row; on a graph another one, all its nodes.

    The table is encoded by what the run's training rows said: means, categories, labels. A category never seen in
    training counts as none of those that were, and that is said. `proba` adds the probability of every class;
    `calibrated` divides the logits by the temperature that was fitted on validation.

    >>> import tempfile, thalweg
    >>> from thalweg.data import bundled
    >>> run = thalweg.train(thalweg.load("iris", assignments=["epochs=20"]), out=tempfile.mkdtemp())
    >>> rows = bundled("iris").frame.head(3)
    >>> list(thalweg.predict(run, rows)["prediction"])
    ['setosa', 'setosa', 'setosa']

    Raises `RunError` for a run that was not trained on a table, `DataError` for a table that lacks a column,
    `RecipeError` for probabilities of numbers.
    """
    kind, encoding = _kind_of(run)
    check_weights(run)
    if (proba or calibrated) and encoding.task == "regression":
        named = " and ".join(f"--{name}" for name, given in (("proba", proba), ("calibrated", calibrated)) if given)
        target = listed(list(encoding.schema.target.names))
        raise RecipeError(f"{target} is predicted as a number, which has no probabilities. Leave {named} out.")
    heat = kept_temperature(run) if calibrated else 1.0
    outputs = partial(_outputs, run, resolve_device(device))
    rows = kind.opened(str(table), encoding) if isinstance(table, str | Path) else table
    return kind.predicted(rows, encoding, outputs, all_probabilities=proba, temperature=heat)


def open_rows(run: Run, file: str) -> Any:
    """What `predict` is given for a file: its rows, read as the run's own table was; of other data its path."""
    kind, encoding = _kind_of(run)
    return kind.opened(file, encoding)


def writer_of(run: Run, rows: Any, output: Path | None, proba: bool) -> "Callable[[DataFrame], bytes]":
    """What turns the predictions on rows, as `open_rows` gave them, into the bytes of a file, by that file's name.

    Raises `RecipeError` where such a file cannot hold them.
    """
    kind, encoding = _kind_of(run)
    return kind.writer(rows, encoding, output, proba)


def judge_file(run: Run, file: str, device: str = "auto") -> Scores:
    """The run's scores on a file that holds the target too.

    Raises `RunError` for a run that was not trained on a table, `DataError` for a table that lacks a column.
    """
    kind, encoding = _kind_of(run)
    check_weights(run)
    return evaluate(run, kind.judged(file, encoding), device=device)


def check_weights(run: Run) -> None:
    """Say that a run did not come to its own end before its weights are used.

    Raises `RunError` for weights that are not finite: they predict nothing.
    """
    name = "This run" if run.path is None else f"The run {run.path.name}"
    if not all_finite(run.model.parameters()):
        raise RunError(
            f"{name} ended as {run.status}, and its weights are not finite, so it can predict nothing. "
            "Train it again with a lower learning rate, a clipped gradient, or data of a smaller scale."
        )
    if not run.status.good:
        which = f"its best, of epoch {run.best_epoch}" if run.best_epoch else "its last: no epoch was the best"
        notice(f"{name} ended as {run.status}. {run.status.sentence} The weights that are used are {which}.")


def _kind_of(run: Run) -> tuple[DataKind, Any]:
    """The kind of data that a run was trained on, and its encoding."""
    kind = kind_reading(run.preprocessing)
    if kind is None:
        raise RunError(
            "This run was not trained on a table, so thalweg does not know how to turn rows into its inputs. Call its "
            "model: run.model(x)."
        )
    return kind, run.preprocessing


def kept_temperature(run: Run) -> float:
    """The temperature that was fitted on validation when the run was judged."""
    file = None if run.path is None else run.path / "evaluation.json"
    kept = read_object(file).get("calibration") if file and file.exists() else None
    if file and kept and not _is_calibration(kept):
        raise damaged(file, f"its 'calibration' is {str(kept)[:80]}, not an error, a temperature, the error after it")
    if not kept:
        raise RunError(
            "This run has no calibration temperature: it needs classes and a validation split, and to have been "
            "trained by `thalweg train`. Leave --calibrated out."
        )
    error, after = kept["error"], kept["error_after"]
    if after > error:
        notice(
            f"The temperature {kept['temperature']:.2f} that validation asks for made the confidences worse on test "
            f"(ECE {error:.3f} -> {after:.3f}). Better leave --calibrated out."
        )
    return float(kept["temperature"])


def _is_calibration(kept: Any) -> bool:
    """Whether these are what `conclude` keeps of the confidences; NaN is written as null."""
    names = ("error", "temperature", "error_after")
    numbers = isinstance(kept, dict) and all(isinstance(kept.get(name), int | float) for name in names)
    return numbers and kept["temperature"] > 0


def outputs_of(run: Run, source: Source) -> Tensor:
    """The best model's outputs on a source of pairs, in its own order, on the CPU."""
    return torch.cat(batch_outputs(run, source))


def batch_outputs(run: Run, source: Source) -> list[Tensor]:
    """The same, batch by batch."""
    device = next(run.model.parameters()).device
    return _outputs(run, device, (x for x, _ in source.batches(0, 0, None)))


def _outputs(run: Run, device: torch.device, batches: Iterable[Nest]) -> list[Tensor]:
    model = run.model.to(device).eval()
    with torch.no_grad():
        return [apply(model, to_device(batch, device)).cpu() for batch in batches]
