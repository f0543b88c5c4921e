"""Predictions: what a model gave out, as columns beside the rows it was asked about."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.notices import notice
from thalweg.data.encoded_target import EncodedTarget
from thalweg.data.schema import TargetKind


def prediction_frame(
    frame: pd.DataFrame,
    encoding: EncodedTarget,
    outputs: Shaped[Tensor, "row ..."],
    *,
    all_probabilities: bool = False,
    temperature: float = 1.0,
) -> pd.DataFrame:
    r"""The frame's columns and beside them `prediction`, and for classes `probability`.

    Outputs of classes are scores $z$ whose probabilities are $\operatorname{softmax}(z / T)$ with the temperature $T$
    (one score for two classes: the sigmoid of the second); those of numbers are scaled, and restored here.
    `prediction` is the label in its own type, or the number in its own units (`prediction_NAME` for several), with its
    standard deviation beside it, `deviation`, where the model gives its variance too;
    `probability` that of the predicted class, `probability_LABEL` of each with `all_probabilities`. A name that the
    frame already has gets `_2` behind it, and that is said.

    >>> from thalweg.data.encoding import Encoding
    >>> from thalweg.data.schema import Column, Kind, Schema, Target
    >>> schema = Schema((Column("size", Kind.NUMBER),), Target(("ill",), TargetKind.CLASSES, ("no", "yes")))
    >>> encoding = Encoding(schema, (0.0,), (1.0,), ())
    >>> prediction_frame(pd.DataFrame({"size": [3]}), encoding, torch.tensor([[0.0, 0.0]]))
       size prediction  probability
    0     3         no          0.5

    Raises `DataError` where outputs and rows differ in number, `RecipeError` where the outputs do not fit the target.
    """
    if len(outputs) != len(frame):
        raise DataError(f"There are {len(outputs)} outputs for {len(frame)} rows. Give one output for each row.")
    values = outputs.detach().cpu().to(torch.float64)
    values = values[:, None] if values.dim() == 1 else values
    target = encoding.schema.target
    binary = target.kind is not TargetKind.NUMBERS and len(target.labels) == 2 and values.shape[1:] == (1,)
    widths = (target.outputs, 2 * target.outputs) if target.kind is TargetKind.NUMBERS else (target.outputs,)
    if values.dim() != 2 or (values.shape[1] not in widths and not binary):
        raise RecipeError(
            f"The model gives {tuple(outputs.shape[1:])} for each row, but the target {', '.join(target.names)} needs "
            f"{target.outputs} outputs. Build the model with outputs={target.outputs}."
        )
    if target.kind is TargetKind.NUMBERS:
        columns = _numbers(encoding, values)
    else:
        scores = torch.cat([torch.zeros_like(values), values], dim=1) if binary else values
        columns = _classes(encoding, torch.softmax(scores / temperature, dim=1), all_probabilities)
    return pd.concat([frame, pd.DataFrame(_unused(frame, columns), index=frame.index)], axis=1)


def _numbers(encoding: EncodedTarget, values: Float[Tensor, "row target"]) -> dict[str, Float[np.ndarray, " row"]]:
    names = encoding.schema.target.names
    restored = encoding.restore(values).numpy()
    endings = [""] if len(names) == 1 else [f"_{name}" for name in names]
    columns = {f"prediction{ending}": restored[:, i] for i, ending in enumerate(endings)}
    if restored.shape[1] == 2 * len(names):
        deviations = np.exp(restored[:, len(names) :] / 2)
        columns |= {f"deviation{ending}": deviations[:, i] for i, ending in enumerate(endings)}
    return columns


def _classes(
    encoding: EncodedTarget, probability: Float[Tensor, "row class"], all_probabilities: bool
) -> dict[str, Shaped[np.ndarray, " row"]]:
    best: Int[Tensor, " row"] = probability.argmax(1)
    labels = np.array(encoding.labels)
    labels = labels.astype(object) if labels.dtype.kind == "U" else labels
    columns = {"prediction": labels[best.numpy()], "probability": probability.amax(1).numpy()}
    if all_probabilities:
        columns |= {f"probability_{label}": probability[:, i].numpy() for i, label in enumerate(encoding.labels)}
    return columns


def _unused(frame: pd.DataFrame, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The new columns under names that the frame does not have yet."""
    taken = set(map(str, frame.columns))
    suffix, number = "", 1
    while any(name + suffix in taken for name in columns):
        number += 1
        suffix = f"_{number}"
    if suffix:
        old = [name for name in columns if name in taken]
        notice(f"The table has a column '{old[0]}' already: the new one is '{old[0]}{suffix}'.")
    return {name + suffix: values for name, values in columns.items()}
