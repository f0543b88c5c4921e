"""The largest of many, of equal ones the first, and what a module keeps of decoding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from thalweg.core.tokens import START
from thalweg.decode import greedy
from thalweg.decode.continuations import Blocks
from thalweg.decode.largest import largest
from thalweg.nn import transformer

# --- the largest of many ---


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_largest_are_those_of_a_stable_sort(data: st.DataObject):
    length = data.draw(st.sampled_from([1, 5, 63, 64, 257, 300, 513, 1000]))
    count = data.draw(st.integers(1, 7))
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    values = torch.randint(-4, data.draw(st.sampled_from([-2, 3, 10**6])), (3, length), generator=draw) / 3
    values = values.to(data.draw(st.sampled_from([torch.float32, torch.float64])))
    values[values == -1] = -torch.inf
    values[values == 0] = -0.0
    values[0] = values[0] if data.draw(st.booleans()) else -torch.inf
    found, places = largest(values, count)
    expected, at = values.sort(dim=1, descending=True, stable=True)
    there = expected[:, :count] > -torch.inf
    assert torch.equal(found, expected[:, :count])
    assert torch.equal(places[there], at[:, :count][there])
    assert torch.equal(values.gather(1, places), found)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_best_continuations_are_those_of_a_stable_sort(data: st.DataObject):
    """Of all beams and all tokens side by side; with ties, beams that hold nothing, and tokens that may not come."""
    length, beams = data.draw(st.sampled_from([4, 70, 255, 256, 257, 700])), data.draw(st.integers(1, 6))
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    scores = torch.randint(-4, data.draw(st.sampled_from([-2, 3, 10**6])), (2 * beams, length), generator=draw) / 3
    scores[scores == -1] = -torch.inf
    totals = torch.randint(-2, 1, (2, beams), generator=draw).double()
    totals[totals == -2] = -torch.inf
    scores[totals.flatten() == -torch.inf] = data.draw(st.sampled_from([0.0, torch.nan]))
    normalizer = torch.randint(0, 2, (2 * beams,), generator=draw).double()
    unwanted = torch.tensor(sorted(data.draw(st.sets(st.integers(0, length - 1), max_size=length - 1))))
    blocks = Blocks.of(length, unwanted.long())
    found = blocks.best(scores, blocks.maxima(scores), normalizer, totals)
    every = totals.flatten()[:, None] + (scores.double() - normalizer[:, None])
    every = every.index_fill(1, unwanted.long(), -torch.inf).nan_to_num(-torch.inf, neginf=-torch.inf)
    expected, at = every.view(2, -1).sort(dim=1, descending=True, stable=True)
    expected, at = expected[:, :beams], at[:, :beams]
    there = expected > -torch.inf
    assert torch.equal(found.totals, expected)
    assert torch.equal((found.parents * length + found.tokens)[there], at[there])


@pytest.mark.parametrize("own", [False, True])
def test_what_a_module_keeps_of_decoding_can_be_trained_with(own: bool):
    """One of someone's own may keep tensors; where all are known to keep none, the cheaper mode is taken."""

    class Keeping(nn.Linear):
        kept: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            self.kept = 2 * torch.ones_like(x) if self.kept is None else self.kept
            return super().forward(x) * self.kept[:, :1]

    modes = []
    model = transformer(9, vocabulary=9, width=8, heads=2)
    model.output.register_forward_hook(lambda *_: modes.append(torch.is_inference_mode_enabled()))
    if own:
        model.layers[0].cross.output = Keeping(8, 8)
    inputs = {"source": torch.tensor([[4, 5]]), "lengths": torch.tensor([2])}
    greedy(model, inputs, longest=2)
    assert set(modes) == {not own}
    model(**inputs, prefix=torch.tensor([[START]])).sum().backward()
