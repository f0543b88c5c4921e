"""The test loss: whether the test data differ from the training data in a way that costs.

Harm first: the loss on the probe half of the test split must lie above that on validation beyond noise, and by more
than a trifle. Then the explanation: which of the model's outputs are distributed otherwise (Kolmogorov-Smirnov on each
softmax output with Bonferroni's correction: BBSDs of Rabanser et al. 2019, "Failing Loudly"), and which inputs moved
most. A large shift without harm is no finding.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thalweg.core.nest import to_device
from thalweg.core.objective import PlainLoss, apply
from thalweg.core.source import Source
from thalweg.diagnosis.compare import higher_on
from thalweg.diagnosis.finding import Arm, Experiment, Score
from thalweg.diagnosis.floor import SHARE_OF_WAY, Floor
from thalweg.diagnosis.laboratory import Laboratory
from thalweg.diagnosis.natural import as_losses, errors_of
from thalweg.training import Run

LEVEL = 0.99
MATERIAL = 2.5
"""A loss on test that is higher by less than so many times what is material elsewhere is not worth a finding."""


@dataclass(frozen=True)
class Mismatch:
    """Whether the test data cost, by how much, the experiment that shows it, and what moved."""

    harms: bool
    effect: Score
    experiment: Experiment
    mechanism: str
    level: float


def ask_mismatch(lab: Laboratory, run: Run, floor: Floor) -> Mismatch | None:
    """The loss on the probe half against that on validation; None where there is none, or no finite loss."""
    if lab.probe is None:
        return None
    validation, probe = lab.losses(run, lab.validation), lab.losses(run, lab.probe)
    if validation is None:
        return None
    seeds = (lab.recipe.seed,)
    control = Arm("validation", (), Score(*validation.mean()), seeds, run.seconds)
    if probe is None:
        effect = Score(float("inf"), float("inf"), float("inf"))
        arm = Arm("test (probe half)", (), Score(float("inf")), seeds)
    else:
        effect = higher_on(probe, validation, LEVEL)
        arm = Arm("test (probe half)", (), Score(*probe.mean()), seeds)
    harms = effect.low > 0 and effect.value > MATERIAL * floor.material(validation.mean()[0])
    if not harms and (plainly := _more_errors(lab, run, floor)) is not None:
        harms, effect = True, plainly
    mechanism = _what_moved(lab, run) if harms else "the test data cost no more than the validation data"
    experiment = Experiment(
        "Is the loss on test data higher than on validation data, which neither was trained on?",
        "loss",
        control,
        (arm,),
        "yes" if harms else "no",
        f"The loss on test is higher by {effect}: {mechanism}.",
        effect,
    )
    return Mismatch(harms, effect, experiment, mechanism, arm.score.value)


def _more_errors(lab: Laboratory, run: Run, floor: Floor) -> Score | None:
    """How much larger natural errors are on the probe half, where that is beyond noise and material; a few confident
    mistakes make a loss too noisy to tell.
    """
    assert lab.probe is not None
    here, there = (errors_of(run, source, lab.device) for source in (lab.validation, lab.probe))
    if here is None or there is None or floor.natural is None:
        return None
    effect = higher_on(as_losses(there), as_losses(here), LEVEL)
    return effect if effect.low > 0 and effect.value > MATERIAL * SHARE_OF_WAY * floor.natural_way else None


def _what_moved(lab: Laboratory, run: Run) -> str:
    """Which outputs and which inputs are distributed otherwise on test than on validation."""
    assert lab.probe is not None
    here, there = _inputs_and_outputs(lab, run, lab.validation), _inputs_and_outputs(lab, run, lab.probe)
    if here is None or there is None:
        return "the test data are of another kind"
    p = kolmogorov_smirnov(here[1], there[1])
    outputs = f"{int((p < 0.05 / len(p)).sum())} of {len(p)} outputs are distributed otherwise (KS, p = {p.min():.1g})"
    scale = here[0].std(0) + 1e-6
    moved = np.abs(there[0].mean(0) - here[0].mean(0)) / scale
    spread = (there[0].std() + 1e-9) / (here[0].std() + 1e-9)
    most = ", ".join(map(str, np.argsort(-moved)[:3].tolist()))
    return (
        f"{outputs}; inputs moved by {np.median(moved):.2g} standard deviations (most: {most}), their spread is "
        f"{spread:.2g} times that of validation"
    )


def kolmogorov_smirnov(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The two-sample Kolmogorov-Smirnov p-value of each column.

    >>> random = np.random.default_rng(0)
    >>> p = kolmogorov_smirnov(random.normal(0, 1, (99, 2)), random.normal([0, 2], 1, (99, 2)))
    >>> bool(p[0] > 0.01), bool(p[1] < 0.001)
    (True, True)
    """
    from scipy.stats import ks_2samp

    return np.array([ks_2samp(first[:, i], second[:, i]).pvalue for i in range(first.shape[1])])


def _inputs_and_outputs(lab: Laboratory, run: Run, source: Source) -> tuple[np.ndarray, np.ndarray] | None:
    if not isinstance(lab.judge.objective, PlainLoss):
        return None
    xs, outputs = [], []
    with torch.no_grad():
        for batch in source.batches(0, 0, None):
            x = to_device(batch[0], lab.device)
            output = apply(run.model, x)
            if not isinstance(x, Tensor) or not isinstance(output, Tensor) or output.dim() != 2:
                return None
            outputs.append(output.softmax(1) if output.shape[1] > 1 else output)
            xs.append(x.flatten(1))
    return torch.cat(xs).double().numpy(force=True), torch.cat(outputs).double().numpy(force=True)
