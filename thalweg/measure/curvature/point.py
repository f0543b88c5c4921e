"""What is known of a point on the error surface, as a value that is printed, kept and compared."""

import math
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from thalweg.core.wording import counted
from thalweg.measure.curvature.kinds import Certainty, Kind

MOST_SHOWN = 3
UNNUMBERED = ("kind", "certainty", "descent")


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    r"""The kind of a point, the numbers that say so, and how sure it is.

    - `loss` is the bare loss, `objective` what was trained, with penalty and weight decay.
    - `gradient_norm` $|g|$ of the objective; `gradient_noise` $\sqrt{\mathrm{tr}(\mathrm{Cov})/N}$, its length by
      chance, None where the evaluation set has no pieces; `tolerance` is the length up to which a gradient counts as 0.
    - `hessian_gradient` is $|Hg| / (|\lambda|_{\max} |g|)$; near 0 where $|g|^2$ is least without being 0, so that its
      minimization stops at no critical point (Frye et al., "Critical Point-Finding Methods Reveal Gradient-Flat
      Regions of Deep Network Losses", 2020). None where g or H is 0.
    - `eigenvalues`, smallest first: all where `exact`, else those that Lanczos found to its tolerance, and both ends.
    - `tau`: an eigenvalue within it counts as 0. `minima_ratio` is positive / (positive + negative) beyond it,
      `positive`, `zero`, `negative` are the shares of all. `above_zero` is the share of $\lambda > 0$, `raised` the
      share of random perturbations that raise the loss: two other counts that are in use.
    - `trace` has the standard error `trace_error` where not all eigenvalues are known: by one random start, or two, it
      is rough, and `hessian_trace` spends more on it.
    - `held_out` is the curvature along the lowest direction of half of the data on the other half, with its standard
      error. `descent` is a way down: a direction of length 1, in the order of the parameters.

    >>> import torch
    >>> import thalweg
    >>> x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0], [4.0]])
    >>> line = torch.nn.Linear(1, 1, bias=False)
    >>> _ = line.weight.data.fill_(2.0)
    >>> point = thalweg.critical_point(line, torch.nn.MSELoss(), (x, y))
    >>> print(point.kind, point.eigenvalues)
    LOCAL_MINIMUM (5.0,)
    """

    kind: Kind
    certainty: Certainty
    loss: float
    objective: float
    gradient_norm: float
    gradient_noise: float | None
    tolerance: float
    hessian_gradient: float | None
    eigenvalues: tuple[float, ...]
    residual: float
    tau: float
    minima_ratio: float | None
    positive: float
    zero: float
    negative: float
    above_zero: float
    raised: float
    trace: float
    trace_error: float
    held_out: tuple[float, float] | None
    parameters: int
    examples: float
    exact: bool
    products: int
    mode: str
    notes: tuple[str, ...]
    descent: Float[Tensor, " n"] | None

    @property
    def smallest(self) -> float:
        """The smallest eigenvalue."""
        return self.eigenvalues[0]

    @property
    def largest(self) -> float:
        """The largest eigenvalue, by sign and not by magnitude."""
        return self.eigenvalues[-1]

    def __str__(self) -> str:
        ratio = "none" if self.minima_ratio is None else f"{self.minima_ratio:.3g}"
        noise = "" if self.gradient_noise is None else f", by chance {self.gradient_noise:.3g}"
        flat = "" if self.hessian_gradient is None else f"; |Hg| / (|lambda|max |g|) {self.hessian_gradient:.2g}"
        held = "" if self.held_out is None else f"; held out {self.held_out[0]:.3g} ± {self.held_out[1]:.2g}"
        how = "all eigenvalues" if self.exact else "Lanczos"
        trace = f"trace {self.trace:.4g}" + (f" ± {self.trace_error:.2g}" if self.trace_error else "")
        lines = [
            f"{self.kind}  {self.kind.sentence}",
            f"  sure        {self.certainty}: {self.certainty.sentence}",
            f"  loss        {self.loss:.6g}, with penalty and decay {self.objective:.6g}; {self.mode}",
            f"  gradient    {self.gradient_norm:.3g}{noise}, 0 up to {self.tolerance:.2g}{flat}",
            f"  eigenvalues {_ends(self.eigenvalues)}{held}; {how} of {counted(self.parameters, 'parameter')}, "
            f"{counted(self.products, 'product')}",
            f"  shares      positive {self.positive:.3g}, zero {self.zero:.3g}, negative {self.negative:.3g} "
            f"(tau {self.tau:.2g}); minima ratio {ratio}",
            f"  other       {trace}, above 0 {self.above_zero:.3g}, perturbations that raise the loss "
            f"{self.raised:.3g}",
        ]
        return "\n".join([*lines, *(f"  note        {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Plain values, numbers that are not finite as None; the way down is left out."""
        plain = {name: value for name, value in vars(self).items() if name not in ("kind", "certainty", "descent")}
        lists = {
            name: [_finite(v) for v in value] if isinstance(value, tuple) else _finite(value)
            for name, value in plain.items()
        }
        said = {"kind": str(self.kind), "sentence": self.kind.sentence}
        return {**said, "certainty": str(self.certainty), "sure": self.certainty.sentence, **lists}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _ends(values: tuple[float, ...]) -> str:
    if len(values) <= 2 * MOST_SHOWN:
        return ", ".join(f"{value:.4g}" for value in values)
    low, high = (", ".join(f"{value:.4g}" for value in part) for part in (values[:MOST_SHOWN], values[-MOST_SHOWN:]))
    return f"{low} ... {high}"
