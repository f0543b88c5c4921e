"""Resampled metrics: on counts of the rows what they are on the rows themselves."""

import naive
import numpy as np
import pytest
import torch

from thalweg.measure import auc, balanced_accuracy, f1, r2, rmse
from thalweg.measure.resampling import Through, resampling_of, unweighted


def draw(n: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits on a coarse grid, so that there are ties, and class numbers."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-4, 5, (n, classes), generator=generator) / 2, torch.randint(
        classes, (n,), generator=generator
    )


@pytest.mark.parametrize("metric", [balanced_accuracy, f1, auc, rmse, r2])
@pytest.mark.parametrize("classes", [2, 5])
def test_a_resampled_metric_is_the_metric_of_the_rows_that_were_drawn(metric, classes):
    """With classes of more members than are compared one by one, and of fewer."""
    output, y = draw(67, classes)
    y[(y == 1) & (torch.arange(67) % 3 > 0)] = 0
    if metric in (rmse, r2):
        y = output.roll(1, 0) * 3 + 2
    chosen = torch.randint(67, (3, 67), generator=torch.Generator().manual_seed(1))
    counts = torch.stack([rows.bincount(minlength=67) for rows in chosen]).double()
    drawn = torch.stack([metric(output[rows], y[rows]) for rows in chosen])
    torch.testing.assert_close(resampling_of(metric)(output, y, counts), drawn, rtol=1e-5, atol=1e-6)
    through = Through(metric, unweighted)
    torch.testing.assert_close(resampling_of(through)(output, (y, y), counts), drawn, rtol=1e-5, atol=1e-6)


def test_many_classes_are_resampled_at_once():
    """A class of one or two members is compared with all others, and nothing is sorted for it."""
    logits, y = draw(211, 307)
    areas = resampling_of(auc)(logits, y, torch.ones(50, 211, dtype=torch.float64))
    p = logits.double().log_softmax(1)
    expected = np.mean([naive.pairs_in_order(p[:, k].tolist(), (y == k).tolist()) for k in y.unique().tolist()])
    assert areas.tolist() == pytest.approx([expected] * 50, abs=1e-6)
