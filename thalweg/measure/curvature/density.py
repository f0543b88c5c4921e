r"""The spectral density by stochastic Lanczos quadrature: where the eigenvalues lie, without finding them.

$$ \frac{1}{n} \sum_i f(\lambda_i) \approx \frac{1}{p} \sum_{l=1}^{p} \sum_{k=1}^{m} w_k^{(l)} f(\theta_k^{(l)}) $$

for p random directions, each with the m nodes and weights of its tridiagonal matrix (Ubaru, Chen & Saad, "Fast
Estimation of tr(f(A)) via Stochastic Lanczos Quadrature", 2017; Ghorbani, Krishnan & Xiao 2019). Half of the steps of
the same run give the quadrature with m/2, so that the check of m against m/2 costs no product.
"""

import math
from dataclasses import dataclass

import numpy as np

from thalweg.measure.curvature.lanczos import Krylov


@dataclass(frozen=True, eq=False)
class Density:
    """Shares of the spectrum at nodes; `halved` are those of half the steps, `probes` those of each direction.

    >>> exact = Density.of_eigenvalues(np.array([-1.0, 0.0, 0.0, 3.0]))
    >>> exact.share(high=-0.5), exact.share(low=-0.5, high=0.5), exact.mean
    (0.25, 0.5, 0.5)
    """

    probes: tuple[tuple[np.ndarray, np.ndarray], ...]
    halved: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    @classmethod
    def of_eigenvalues(cls, values: np.ndarray) -> "Density":
        """That of a spectrum which is known."""
        return cls(((values, np.full(len(values), 1 / len(values))),))

    @classmethod
    def of_spaces(cls, spaces: list[Krylov]) -> "Density":
        """That of runs of Lanczos, each from a direction drawn evenly from all."""
        halved = tuple(space.nodes(max(1, space.steps // 2)) for space in spaces)
        return cls(tuple(space.nodes() for space in spaces), halved)

    @property
    def nodes(self) -> np.ndarray:
        """All nodes, smallest first."""
        return np.sort(np.concatenate([values for values, _ in self.probes]))

    @property
    def weights(self) -> np.ndarray:
        """Their shares, which add up to 1."""
        return _mixed(self.probes)[1]

    @property
    def mean(self) -> float:
        """The mean eigenvalue: the trace over n."""
        return float((self.nodes * self.weights).sum())

    @property
    def step_error(self) -> float:
        """The Wasserstein distance of the quadrature from that of half as many steps; 0 for a known spectrum."""
        return wasserstein(_mixed(self.probes), _mixed(self.halved)) if self.halved else 0.0

    @property
    def probe_error(self) -> float:
        """What directions leave open: the mean Wasserstein distance of one from all, over the root of their number."""
        if len(self.probes) < 2:
            return math.nan if self.halved else 0.0
        whole = _mixed(self.probes)
        apart = [wasserstein(probe, whole) for probe in self.probes]
        return float(np.mean(apart)) / math.sqrt(len(self.probes) - 1)

    def mean_error(self, size: int) -> float:
        r"""The standard error of the mean for a matrix of `size` rows, 0 for a known spectrum.

        For $v^\top H v$ of p random v of length 1: $\sqrt{2 s^2 / (p (n + 2))}$, with the eigenvalues' variance $s^2$.
        """
        if not self.halved:
            return 0.0
        spread = float((self.weights * (self.nodes - self.mean) ** 2).sum())
        return math.sqrt(2 * spread / (len(self.probes) * (size + 2)))

    def share(self, low: float = -math.inf, high: float = math.inf) -> float:
        """The share of eigenvalues above `low` and not above `high`."""
        return float(self.weights[(self.nodes > low) & (self.nodes <= high)].sum())

    def curve(self, at: np.ndarray, width: float) -> np.ndarray:
        """The density at some places, per unit, each node widened to a normal distribution of deviation `width`."""
        away = (np.asarray(at)[:, None] - self.nodes[None]) / width
        return np.exp(-(away**2) / 2) @ self.weights / (width * math.sqrt(2 * math.pi))


def wasserstein(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
    """How far weight has to be moved, on average, to make one distribution of nodes the other.

    >>> wasserstein((np.array([0.0]), np.array([1.0])), (np.array([0.0, 2.0]), np.array([0.5, 0.5])))
    1.0
    """
    places = np.concatenate([a[0], b[0]])
    order = np.argsort(places, kind="stable")
    moved = np.cumsum(np.concatenate([a[1], -b[1]])[order])[:-1]
    return float((np.abs(moved) * np.diff(places[order])).sum())


def _mixed(probes: tuple[tuple[np.ndarray, np.ndarray], ...]) -> tuple[np.ndarray, np.ndarray]:
    values = np.concatenate([values for values, _ in probes])
    weights = np.concatenate([weights for _, weights in probes]) / len(probes)
    order = np.argsort(values, kind="stable")
    return values[order], weights[order]
