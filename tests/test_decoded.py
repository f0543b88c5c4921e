"""Texts that a model puts out for the sources of a table: which ones stand in a batch changes none of them."""

from typing import Any

import pandas as pd
import pytest
import torch

from thalweg.data import PairEncoding, PairSchema, PairSource
from thalweg.nn import rnn_seq2seq, transformer
from thalweg.recipes import decoded as module
from thalweg.recipes.decoded import Decoding, decoded

ENCODING = PairEncoding.fit(["ab", "ba"], ["ab", "b"], PairSchema(copying=True))


def sources(*texts: str) -> PairSource:
    return PairSource.of(pd.DataFrame({"source": texts}), ENCODING)


def model(make: Any) -> Any:
    torch.manual_seed(0)
    made = make(ENCODING.outputs, vocabulary=len(ENCODING.source), width=8, copying=True)
    torch.nn.init.normal_(made.output.bias)
    return made.eval()


@pytest.mark.parametrize("make", [transformer, rnn_seq2seq])
def test_no_output_holds_what_another_source_adds(make: Any) -> None:
    among = decoded(model(make), sources("ab", "xyzwvu", ""), Decoding(beam=8, nbest=8, longest=1))
    assert [len(each) for each in among] == [4, 8, 4]  # unknown, a, b and nothing; the six of "xyzwvu" for it alone
    for text, own in zip(["ab", "xyzwvu", ""], among, strict=True):
        (alone,) = decoded(model(make), sources(text), Decoding(beam=8, nbest=8, longest=1))
        assert [each.text for each in own] == [each.text for each in alone]
        assert [each.log_likelihood for each in own] == pytest.approx([each.log_likelihood for each in alone])


def test_like_lengths_are_decoded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)
    monkeypatch.setattr(module, "POSITIONS", 16)
    texts = ["ab" * n for n in (1, 9, 2, 4, 1, 0, 3, 2)]
    batches = list(module._batches(sources(*texts)))
    assert [places.tolist() for places, _ in batches] == [[1], [3, 6], [2, 7, 0], [4, 5]]
    assert [inputs["lengths"].tolist() for _, inputs in batches] == [[18], [8, 6], [4, 4, 2], [2, 0]]
    found = decoded(model(transformer), sources(*texts), Decoding(beam=2))
    for place in (1, 2):  # in the sources' own order
        assert found[place][0].text == decoded(model(transformer), sources(texts[place]), Decoding(beam=2))[0][0].text
