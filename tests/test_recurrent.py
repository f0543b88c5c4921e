"""Recurrent networks: against torch's own cells stepped by hand, with padding, and without any position."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thalweg.core.errors import DataError, RecipeError
from thalweg.nn import rnn

KINDS = ["lstm", "gru", "rnn"]
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}


def built(**knobs: Any) -> nn.Module:
    torch.manual_seed(0)
    return rnn(5, **{"inputs": 3, "width": 7, **knobs}).double()


def values(batch: int = 4, length: int = 11) -> Tensor:
    return torch.randn(batch, length, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_cells(model: nn.Module, x: Tensor, kind: str) -> Tensor:
    """The outputs at each position of one sequence `(length, inputs)`, one direction and layer, cell by cell."""
    cell = CELLS[kind](3, 7).double()
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in model.layers.state_dict().items()})
    state, outputs = None, []
    for each in x:
        state = cell(each[None], state)
        outputs.append(model.output(state[0] if kind == "lstm" else state))
    return torch.cat(outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_its_cell_from_position_to_position(kind: str) -> None:
    tagger, reader = built(cell=kind, head="position"), built(cell=kind)
    x = values()
    tags, answers = tagger(x, torch.tensor([11, 4, 1, 11])), reader(x, torch.tensor([11, 4, 1, 11]))
    for number, length in enumerate((11, 4, 1, 11)):
        steps = by_cells(tagger, x[number, :length], kind)
        assert torch.allclose(tags[number, :length], steps, atol=1e-12)
        assert (tags[number, length:] == 0).all()
        assert torch.allclose(answers[number], steps[-1], atol=1e-12)  # the same weights: the same seed


@pytest.mark.parametrize("head", ["sequence", "position"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_change_outputs(kind: str, head: str) -> None:
    model, x = built(cell=kind, head=head, depth=2, bidirectional=True), values()
    lengths = torch.tensor([9, 4, 0, 1])
    longer = torch.cat([x, torch.full((4, 6, 3), 1e3, dtype=torch.float64)], dim=1)
    for number, length in enumerate(lengths.tolist()):
        longer[number, length:] = -1e3
    outputs = model(longer, lengths)
    assert torch.allclose(outputs[:, :11] if head == "position" else outputs, model(x, lengths), atol=1e-12)
    alone = model(x[1:2, :4])
    assert torch.allclose(outputs[1:2, :4] if head == "position" else outputs[1:2], alone, atol=1e-12)
    (gradient,) = torch.autograd.grad(model(longer.requires_grad_(), lengths).square().sum(), longer)
    assert (gradient[1, 4:] == 0).all()
    assert (gradient[2] == 0).all()
    assert gradient[1, :4].abs().min() > 0


def test_both_ends_are_read() -> None:
    model, x = built(bidirectional=True), values(1, 9)
    whole, both = model(x), []
    for place in (0, 8):
        changed = x.clone()
        changed[:, place] += 1
        both.append((model(changed) - whole).abs().max().item())
    outputs, _ = model.layers(x)
    ends = torch.cat([outputs[:, -1, :7], outputs[:, 0, 7:]], dim=1)
    assert torch.allclose(whole, model.output(ends), atol=1e-12)
    assert min(both) > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_sequence_is_the_zero_state(kind: str) -> None:
    model = built(cell=kind)
    bias = model.output.bias
    for x, lengths in ((values(2), torch.tensor([0, 0])), (values(2, 0), None), (values(2, 0), torch.tensor([0, 0]))):
        assert torch.equal(model(x, lengths), bias.expand(2, -1))
    assert model(values(0)).shape == (0, 5)
    assert built(cell=kind, head="position")(values(2, 0)).shape == (2, 0, 5)


def test_tokens() -> None:
    model = rnn(5, vocabulary=9, width=7, dropout=0.5, depth=2).eval()
    tokens = torch.tensor([[3, 4, 5, 0], [8, 0, 0, 0]])
    lengths = torch.tensor([3, 1])
    assert torch.allclose(model(tokens, lengths)[:1], model(tokens[:1, :3]), atol=1e-6)
    assert (model.embedding.weight[0] == 0).all()
    assert not torch.equal(model.train()(tokens, lengths), model(tokens, lengths))


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({}, r"inputs is None and vocabulary is None, but it is one of them"),
        ({"inputs": 3, "vocabulary": 4}, r"inputs is 3 and vocabulary is 4"),
        ({"inputs": 0}, r"inputs is 0, but it must be a whole number of at least 1"),
        ({"vocabulary": 0}, r"vocabulary is 0"),
        ({"inputs": 3, "cell": "ltsm"}, r"Did you mean 'lstm'"),
        ({"inputs": 3, "head": "last"}, r"'sequence', 'position'"),
        ({"inputs": 3, "dropout": 1.0}, r"dropout is 1\.0"),
        ({"inputs": 3, "depth": 0}, r"depth is 0"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        rnn(5, **knobs)


def test_values_that_do_not_fit_are_refused() -> None:
    model, reader = built(), rnn(5, vocabulary=9)
    with pytest.raises(RecipeError, match=r"built for 3 inputs.*shape \(4, 11, 2\).*\(batch, length, 3\)"):
        model(values()[..., :2])
    with pytest.raises(RecipeError, match=r"int64 of shape \(4, 11\).*Build it with vocabulary="):
        model(torch.ones(4, 11, dtype=torch.int64))
    with pytest.raises(RecipeError, match=r"built with a vocabulary.*shape \(4, 11, 3\).*Build it with inputs="):
        reader(values())
    with pytest.raises(RecipeError, match=r"rnn: lengths are int64 of shape \(3,\).*of shape \(4,\)"):
        model(values(), torch.tensor([1, 2, 3]))
    with pytest.raises(RecipeError, match=r"rnn: lengths are \[1, 2, 3, 4\]"):
        model(values(), [1, 2, 3, 4])
    with pytest.raises(DataError, match=r"Tokens lie between 1 and 9, but the network knows 0 to 8.*vocabulary=10"):
        reader(torch.tensor([[1, 9]]))
    with pytest.raises(RecipeError, match=r"lengths go from -1 to 12, but sequences have 11 positions"):
        model(values(), torch.tensor([1, -1, 3, 12]))
