"""What the report says of alignments: how many went forward, what the others did, in units and in seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from thalweg.data import PairSchema, PairSource, SpeechEncoding, SpeechSchema, SpeechSource
from thalweg.data.audio import LogMel
from thalweg.data.ragged import Ragged
from thalweg.nn import rnn_seq2seq, transformer
from thalweg.recipes.alignment_shown import in_order_shown, is_in_order, pooled, positions_of
from thalweg.report.alignments import KINDS, in_order

CPU = torch.device("cpu")
PATHS = {
    "abcdefgh": [0, 1, 2, 3, 4, 5, 6, 7],
    "bcdefghi": [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7],
    "cdefghij": [0, 1, 7, 7, 7, 7, 7, 7],
    "defghijk": None,
}


class Looking(nn.Module):
    """It looks where the first letter of its source says, and anywhere at the step of the end."""

    def __init__(self, source: Any, stack: int = 1) -> None:
        super().__init__()
        self.paths, self.stack = dict(enumerate(PATHS.values())), stack
        self.first = {} if isinstance(source, SpeechSource) else source.encoding.source.numbers

    def aligned(self, source: Tensor, lengths: Tensor, prefix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count = -(-source.shape[1] // self.stack)
        weights = torch.full((*prefix.shape, count), 1 / count)
        for row in range(len(source)):
            number = 1 if source.dim() == 3 else list(PATHS).index(next(
                text for text in PATHS if self.first[text[0]] == int(source[row, 0])))  # fmt: skip
            if (path := self.paths[number]) is not None:
                weights[row, : len(path)] = torch.eye(count)[path]
        there = torch.ones(len(source), count, dtype=torch.bool)
        return torch.zeros(*prefix.shape, 9), weights, there


def pairs() -> tuple[PairSource, list[str]]:
    texts = ["x" * (8 if path is None else len(path)) for path in PATHS.values()]
    frame = pd.DataFrame({"source": list(PATHS), "target": texts})
    return PairSource.unfitted(frame, PairSchema()).fit(range(4)), texts


def test_each_alignment_is_under_what_it_does() -> None:
    source, texts = pairs()
    shown = in_order_shown(Looking(source), source, texts, [0, 2, 0, 1], CPU)
    assert {item["kind"]: (item["outputs"], item["right"]) for item in shown["kinds"]} == {
        "forward": (1, 1), "again": (1, 0), "back": (0, 0), "passed": (1, 1), "nowhere": (1, 0),
    }  # fmt: skip
    assert shown["told"] == [
        {"row": 1, "right": False, "says": 'It reads "bcdef" again at step 5.'},
        {"row": 3, "right": False, "says": "It looks at 100% of the source at every step: nothing is aligned."},
        {"row": 2, "right": True, "says": 'It passes over "efghi".'},
    ]
    section = in_order(shown | {"in_order": shown}, "test")
    assert [row[1:] for row in section.blocks[0].rows] == [["1", "1 (100%)"], ["1", "0 (0%)"], ["1", "1 (100%)"],
                                                          ["1", "0 (0%)"]]  # fmt: skip


def test_of_recordings_it_is_told_in_seconds() -> None:
    schema = SpeechSchema(("path", "said"), LogMel(8000, mels=2))
    frames = Ragged.of([np.random.default_rng(0).normal(size=(31, 2))])
    encoding = SpeechEncoding.fit(frames, ["abc"], schema)
    source = SpeechSource(pd.DataFrame({"path": ["1.wav"], "said": ["abc"]}), frames, np.array([b"1"]), encoding,
                          np.array([0]))  # fmt: skip
    model = Looking(source, stack=4)
    assert positions_of(model, source, 0) == ["0.00", "0.04", "0.08", "0.12", "0.16", "0.20", "0.24", "0.28"]
    shown = in_order_shown(model, source, ["x" * 13], [1], CPU)
    assert shown["told"][0]["says"] == "It reads 0.00 to 0.20 s again at step 5."


def test_moments_are_pooled_to_fit_and_keep_their_sums() -> None:
    weights = torch.rand(3, 71).softmax(1)
    names, found = pooled([str(i) for i in range(71)], weights, most=32)
    assert names == [str(i) for i in range(0, 71, 3)]
    torch.testing.assert_close(found.sum(1), torch.ones(3))
    torch.testing.assert_close(found[:, 4], weights[:, 12:15].sum(1))


@pytest.mark.parametrize("attention", ["additive", "dot", "location", "cumulative", "monotonic", "chunkwise"])
def test_which_alignments_are_to_go_forward(attention: str) -> None:
    source, _ = pairs()
    model = rnn_seq2seq(9, vocabulary=9, width=4, attention=attention)
    assert is_in_order(model, source, False) is (attention not in ("additive", "dot"))
    assert is_in_order(model, source, True)
    assert not is_in_order(transformer(9, vocabulary=9, width=4, heads=1), source, True)


@pytest.mark.parametrize(
    "damaged", [{}, {"in_order": 3}, {"in_order": {"kinds": [{"kind": "forward", "outputs": "x"}]}}]
)
def test_what_is_damaged_is_left_out(damaged: dict[str, Any], tmp_path: Path) -> None:
    assert in_order(damaged, "test").blocks == []
    odd = {
        "in_order": {"kinds": [{"kind": next(iter(KINDS)), "outputs": 2, "right": 1}], "told": [{"says": "\u202e<b>"}]}
    }
    assert "⟨U+202E⟩" in in_order(odd, "test").blocks[2].rows[0][2]
