"""Predictions of tags: a row for each word, with what the model took it for."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from thalweg.core.errors import DataError, RecipeError
from thalweg.data.conll import NOT_TAGGED
from thalweg.data.sequence_source import SequenceSource


def tag_frame(
    source: SequenceSource,
    outputs: Sequence[Float[Tensor, "..."]],
    *,
    temperature: float = 1.0,
    all_probabilities: bool = False,
) -> pd.DataFrame:
    r"""The words of a source's sentences with `prediction` and its `probability`, $\operatorname{softmax}(z / T)$.

    `outputs` are the logits of its batches in their own order, `(batch, length, classes)` each, as a model gives them
    for `source.inputs(places)` with the `places` of `source.ordered(1, None)`. `sentence` counts from 1, or is the line
    of the file that the sentence begins on. A word that was cut off (`longest`) has no prediction. Where the sentences
    have tags, the column `tag` has them, and `all_probabilities` adds `probability_TAG` for each.

    >>> import io
    >>> from thalweg.data.conll_loading import conll_splits, judged_sentences
    >>> encoding = conll_splits(io.StringIO("The DET\ncat NOUN\n\nA DET\ndog NOUN\n\n" * 10)).train.encoding
    >>> source = judged_sentences([["A", "cat"]], encoding, labelled=False)
    >>> tag_frame(source, [torch.tensor([[[9.0, 0.0], [0.0, 0.0]]])]).round(2)
       sentence token prediction  probability
    0         1     A        DET          1.0
    1         1   cat        DET          0.5

    Raises `DataError` where outputs and sentences differ in number, `RecipeError` for outputs that are no scores.
    """
    count, labels = sum(map(len, outputs)), np.array(source.encoding.labels, dtype=object)
    if count != len(source):
        raise DataError(f"There are {count} outputs for {len(source)} sentences. Give one output for each sentence.")
    wrong = [tuple(one.shape) for one in outputs if one.dim() != 3 or one.shape[2] != len(labels)]
    if wrong:
        raise RecipeError(
            f"The model gives {wrong[0]}, but tags need scores (batch, length, {len(labels)}), one for each class at "
            f"every position. Build the model with outputs={len(labels)}."
        )
    lengths = torch.from_numpy(source.lengths).split([len(one) for one in outputs])
    pairs = zip(outputs, lengths, strict=True)
    held = [one.detach().cpu().double()[torch.arange(one.shape[1]) < length[:, None]] for one, length in pairs]
    probability = torch.softmax(torch.cat(held) / temperature, dim=1)
    best = probability.argmax(1).numpy()

    sentences = source.rows["tokens"]
    whole = np.array([len(sentence) for sentence in sentences])
    seen = np.concatenate([np.arange(size) < length for size, length in zip(whole, source.lengths, strict=True)])
    predictions, certain = np.full(len(seen), None, dtype=object), np.full(len(seen), np.nan)
    predictions[seen], certain[seen] = labels[best], probability.amax(1).numpy()
    begins = sentences.index if sentences.index.name is not None else pd.RangeIndex(1, len(sentences) + 1)
    words = [word for sentence in sentences for word in sentence]
    columns = {"sentence": np.repeat(begins.to_numpy(), whole), "token": words}
    if "tags" in source.rows:
        columns["tag"] = [None if tag == NOT_TAGGED else tag for tags in source.rows["tags"] for tag in tags]
    columns |= {"prediction": pd.Series(predictions, dtype=object), "probability": certain}
    if all_probabilities:
        for i, label in enumerate(labels):
            each = np.full(len(seen), np.nan)
            each[seen] = probability[:, i].numpy()
            columns[f"probability_{label}"] = each
    return pd.DataFrame(columns)
