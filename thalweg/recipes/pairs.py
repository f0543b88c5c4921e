"""What a model says of held-out examples that are tensors, not rows of a table: classes or numbers, in columns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from thalweg.core.arrays import are_classes
from thalweg.core.objective import name_of, reads_classes
from thalweg.core.source import Indexed, Source
from thalweg.recipes.predict import outputs_of
from thalweg.training import Run

MOST_INPUTS, MOST_ROWS = 1024, 20_000
"""Inputs of an example that are written beside its prediction, and examples for which that is done."""


@dataclass(frozen=True)
class Pairs:
    """Outputs and targets of examples: scores and classes, or numbers."""

    inputs: Tensor
    outputs: Tensor
    targets: Tensor
    classes: bool

    def frame(self) -> pd.DataFrame:
        """A row for each example: its inputs, its target, and what was predicted, as for the rows of a table.

        >>> scores, one = torch.tensor([[2.0, 0.0]]), torch.tensor([1])
        >>> Pairs(torch.ones(1, 1), scores, one, True).frame().round(2).to_dict("records")
        [{'input_0': 1.0, 'target': 1, 'prediction': 0, 'probability': 0.88}]
        """
        columns = _input_columns(self.inputs)
        if self.classes:
            share = torch.softmax(self.outputs.double(), 1)
            columns |= {"target": self.targets.numpy(), "prediction": share.argmax(1).numpy()}
            return pd.DataFrame(columns | {"probability": share.amax(1).numpy()})
        names = self.about()["names"]
        endings = [""] if len(names) == 1 else [f"_{name}" for name in names]
        columns |= {name: self.targets[:, i].numpy() for i, name in enumerate(names)}
        columns |= {f"prediction{ending}": self.outputs[:, i].numpy() for i, ending in enumerate(endings)}
        return pd.DataFrame(columns)

    def about(self) -> dict[str, Any]:
        """What kind of target it is, as evaluation.json says it."""
        if self.classes:
            labels = [str(i) for i in range(self.outputs.shape[1])]
            return {"names": ["target"], "kind": "classes", "labels": labels}
        width = self.targets.shape[1]
        return {"names": ["target"] if width == 1 else [f"target_{i}" for i in range(width)], "kind": "numbers"}


def pairs_of(run: Run, source: Source) -> Pairs | None:
    """The pairs of a source, None for what is neither: sequences, graphs, several inputs, an objective of its own."""
    if run.recipe is None or not isinstance(source, Indexed) or len(source) > MOST_ROWS:
        return None
    batches = list(source.batches(0, 0, None))
    if not all(isinstance(batch, tuple | list) and len(batch) == 2 for batch in batches):
        return None
    if not all(isinstance(part, Tensor) and part.dim() for batch in batches for part in batch):
        return None
    if len({tuple(x.shape[1:]) for x, _ in batches}) != 1 or len({tuple(y.shape[1:]) for _, y in batches}) != 1:
        return None
    inputs, targets = (torch.cat([batch[i].cpu() for batch in batches]) for i in (0, 1))
    if len(inputs) != len(targets):
        return None
    try:
        outputs = outputs_of(run, source)
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return None
    loss = run.recipe.judge if run.recipe.judge is not None else run.recipe.objective
    if are_classes(targets) and reads_classes(loss):
        fits = outputs.dim() == 2 and len(outputs) == len(targets) and int(targets.max()) < outputs.shape[1]
        return Pairs(inputs, outputs, targets.long(), True) if fits and int(targets.min()) >= 0 else None
    numbers = targets.is_floating_point() and targets.dim() <= 2 and outputs.dim() <= 2 and "BCE" not in name_of(loss)
    if not numbers or len(outputs) != len(targets):
        return None
    outputs, targets = outputs.reshape(len(outputs), -1), targets.reshape(len(targets), -1)
    if outputs.shape[1] not in (targets.shape[1], 2 * targets.shape[1]):
        return None
    return Pairs(inputs, outputs, targets, False)


def _input_columns(inputs: Tensor) -> dict[str, np.ndarray]:
    """The inputs by column: `pixel_1_2` of an image of one channel, `input_3` of others; none if they are too many."""
    shape = inputs.shape[1:]
    if inputs.numel() > MOST_INPUTS * len(inputs) or inputs.is_complex():
        return {}
    flat = inputs.reshape(len(inputs), -1).numpy()
    if (len(shape) == 3 and shape[0] == 1) or len(shape) == 2:
        height, width = shape[-2:]
        return {f"pixel_{i}_{j}": flat[:, i * width + j] for i in range(height) for j in range(width)}
    return {f"input_{i}": flat[:, i] for i in range(flat.shape[1])}
