"""Images with their channels last: the same run to rounding, chosen by a few steps, kept by a resume."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import bits, broken_off, recipe
from torch import Tensor, nn

import thalweg
from thalweg import RecipeError, Splits
from thalweg.training import layout
from thalweg.training.train import ready


class Net(nn.Module):
    """A small CNN that flattens as many people do: by `view`, which needs images channel by channel."""

    def __init__(self, views: bool = False) -> None:
        super().__init__()
        self.conv, self.out, self.views = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 * 64, 2), views

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        output: Tensor = self.out(x.view(len(x), -1) if self.views else x.flatten(1))
        return output


def images(**changes: Any) -> thalweg.Recipe:
    x = torch.randn(66, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    made = recipe(data=Splits(train=(x, (x.mean((1, 2, 3)) > 0).long())), model=Net, channels_last=True)
    return made.but(**changes)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, partial(torch.optim.SGD, momentum=0.9)])
def test_the_run_is_the_same_to_rounding_and_resumes_to_the_bit(optimizer: Any, tmp_path: Path) -> None:
    chosen = images(optimizer=partial(optimizer, lr=0.01))
    last, first = thalweg.train(chosen), thalweg.train(chosen.but(channels_last=False))
    weight = last.last.get_parameter("conv.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(last.last.parameters(), first.last.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)
    assert bits(thalweg.resume(broken_off(chosen, tmp_path, 9), chosen)) == bits(last)


def test_a_resume_keeps_what_was_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A few steps may decide otherwise the next time, which would be another run."""
    chosen = images(channels_last="auto")
    monkeypatch.setattr(layout, "is_faster", lambda training: True)
    whole, path = thalweg.train(chosen), broken_off(chosen, tmp_path, 9)
    monkeypatch.setattr(layout, "is_faster", lambda training: False)
    assert bits(thalweg.resume(path, chosen)) == bits(whole)


def test_a_few_steps_decide_and_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([9.0, 9.0] + [2.0, 1.0] * 3 + [9.0, 9.0] + [1.0, 1.0] * 3)
    monkeypatch.setattr(layout, "took", lambda step, batch: next(times))
    assert [ready(images(channels_last="auto"), "cpu").choices["layout"] for _ in range(2)] == [
        "channels last",
        "contiguous",
    ]
    monkeypatch.undo()
    training = ready(images(channels_last=False), "cpu")
    before = training.step.state_dict()
    layout.is_faster(training)
    assert all(torch.equal(value, before[name]) for name, value in training.step.state_dict().items())
    assert all(weight.grad is None for weight in training.model.parameters())


def test_a_model_that_cannot_be_laid_out_so_stays_as_it_is() -> None:
    chosen = images(model=partial(Net, views=True), channels_last="auto")
    assert ready(chosen, "cpu").choices["layout"] == "contiguous"
    assert ready(recipe(channels_last=True), "cpu").choices["layout"] == "contiguous"  # no convolution


def test_what_is_no_layout_is_refused() -> None:
    with pytest.raises(RecipeError, match="channels_last='fast', but it is True, False, or 'auto': where it is faster"):
        recipe(channels_last="fast")
