"""Curvature against other libraries: the same networks, one thread, CPU seconds in turn, at equal accuracy or budget.

pip install --no-deps --target PEERS pyhessian hessian-eigenthings curvlinops-for-pytorch
pip install --no-deps --target PEERS einops einconv linear_operator backpack-for-pytorch unfoldNd tqdm
PYTHONPATH=PEERS python curvature.py

PyHessian 0.1 calls torch.eig, which torch has no more; here it is given one that calls torch.linalg.eigh.
"""

import argparse
import warnings
from collections.abc import Callable
from importlib import import_module
from statistics import mean, median
from time import process_time
from typing import Any

import numpy as np
import torch
from machine import machine
from torch import Tensor, nn

import thalweg
from thalweg.measure import extreme_eigenvalues, hessian, hessian_trace, spectral_density
from thalweg.measure.curvature.density import wasserstein
from thalweg.measure.curvature.opening import surface
from thalweg.nn.cnn import cnn

Data = tuple[Tensor, Tensor]
Answer = Callable[[], Any]
LOSS = nn.CrossEntropyLoss()
PEERS = {"PyHessian": "pyhessian", "hessian-eigenthings": "hessian_eigenthings", "curvlinops": "curvlinops"}


def installed() -> dict[str, Any]:
    """The peers that can be imported, by name; the others are said to be missing."""
    found = {}
    for name, module in PEERS.items():
        try:
            found[name] = import_module(module)
        except ImportError as error:
            print(f"  {name} is missing ({error})")
    return found


def in_turn(ways: dict[str, Answer], rounds: int) -> dict[str, tuple[float, list[Any]]]:
    """The median CPU seconds of each way and its answers, A B C A B C ..., after a round that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, list[Any]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = process_time()
            answer = way()
            if number:
                taken[name].append(process_time() - started)
                answers[name].append(answer)
    return {name: (median(seconds), answers[name]) for name, seconds in taken.items()}


def trained(net: nn.Module, data: Data, steps: int = 60) -> nn.Module:
    """The network after a few steps of Adam over all data, in evaluation mode."""
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        LOSS(net(data[0]), data[1]).backward()
        optimizer.step()
    optimizer.zero_grad()
    return net.eval()


def digits(examples: int = 600, image: bool = False) -> Data:
    """Digits of 8 x 8 pixels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    flat = torch.tensor(x[:examples], dtype=torch.float32) / 16
    return flat.reshape(-1, 1, 8, 8) if image else flat, torch.tensor(y[:examples])


def operators(peers: dict[str, Any], net: nn.Module, data: Data) -> dict[str, Any]:
    """The Hessians of the peers that give products with it."""
    found = {}
    if "hessian-eigenthings" in peers:
        own = peers["hessian-eigenthings"]
        found["hessian-eigenthings"] = own.HessianOperator(net, [data], own.supervised_loss(LOSS))
    if "curvlinops" in peers:
        parameters = list(net.parameters())
        found["curvlinops"] = peers["curvlinops"].HessianLinearOperator(net, LOSS, parameters, [data])
    return found


def show(bar: str, rows: dict[str, tuple[float, str]]) -> None:
    """A table of CPU seconds, as a multiple of ours, with what else is to be said."""
    print(f"\n{bar}")
    ours = rows["thalweg"][0]
    for name, (seconds, more) in rows.items():
        print(f"  {name:<22} {seconds:9.4f} s  {seconds / ours:6.2f} x  {more}")


def products(peers: dict[str, Any], rounds: int) -> None:
    """One product with the Hessian, in gradients."""
    wide = nn.Sequential(nn.Linear(784, 800), nn.Tanh(), nn.Linear(800, 400), nn.Tanh(), nn.Linear(400, 10))
    nets = {
        "CNN of 52k": (cnn(3, 10, width=28, norm=None), (torch.randn(128, 3, 16, 16), torch.randint(0, 10, (128,)))),
        "MLP of 1M": (wide, (torch.randn(1000, 784), torch.randint(0, 10, (1000,)))),
    }
    for title, (net, data) in nets.items():
        net.eval()
        parameters = list(net.parameters())
        size = sum(parameter.numel() for parameter in parameters)
        v = torch.randn(size)
        with surface(net, LOSS, data) as at:
            ways: dict[str, Answer] = {
                "gradient": lambda net=net, p=parameters, d=data: torch.autograd.grad(LOSS(net(d[0]), d[1]), p),
                "thalweg": lambda at=at, v=v: at.product(v),
            }
            for name, operator in operators(peers, net, data).items():
                product = operator.matvec if name == "hessian-eigenthings" else operator.__matmul__
                ways[name] = lambda product=product, v=v: product(v)
            found = in_turn(ways, 2 * rounds)
        one = found["gradient"][0]
        rows = {name: (seconds, f"{seconds / one:.2f} gradients") for name, (seconds, _) in found.items()}
        show(f"One product, {title} ({size:,} parameters): at most 2.1 gradients", rows)


def extremes(peers: dict[str, Any], rounds: int) -> None:
    """Both ends to 1e-5 of the larger, each peer at its cheapest setting that reaches it."""
    from scipy.sparse.linalg import eigsh

    data = digits(image=True)
    net = trained(cnn(1, 10, width=12, norm=None), data)
    with surface(net, LOSS, data, dtype=torch.float64) as at:
        from thalweg.measure.curvature.lanczos import lanczos

        values = lanczos(at.product, torch.randn(at.size).double(), tolerance=1e-7).values
    true, scale = (values[0], values[-1]), max(abs(values[0]), abs(values[-1]))

    def error(found: tuple[float, float]) -> float:
        return max(abs(a - b) for a, b in zip(found, true, strict=True)) / scale

    def ours() -> tuple[float, float]:
        found = extreme_eigenvalues(net, LOSS, data)
        return found.smallest, found.largest

    ways: dict[str, Answer] = {"thalweg": ours}
    for name, operator in operators(peers, net, data).items():
        if name == "hessian-eigenthings":
            solve = peers[name].lanczos

            def asked(steps: int, operator: Any = operator, solve: Any = solve) -> tuple[float, float]:
                ends = [
                    solve(operator, k=1, max_iter=steps, which=w, seed=0, reorthogonalize=True) for w in ("SA", "LA")
                ]
                return float(ends[0].eigenvalues[0]), float(ends[1].eigenvalues[0])

            settings: list[Any] = list(range(10, 121, 5))
        else:

            def asked(tol: float, operator: Any = operator) -> tuple[float, float]:
                found = eigsh(operator.to_scipy(), k=2, which="BE", tol=tol, return_eigenvectors=False)
                return float(found.min()), float(found.max())

            settings = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
        good = next((each for each in settings if error(asked(each)) <= 1e-5), settings[-1])
        ways[f"{name}, {good:g}"] = lambda asked=asked, good=good: asked(good)
    found = in_turn(ways, rounds)
    rows = {name: (seconds, f"error {max(map(error, answers)):.1e}") for name, (seconds, answers) in found.items()}
    size = sum(parameter.numel() for parameter in net.parameters())
    show(f"Both ends to 1e-5, CNN of {size:,}: 2 x hessian-eigenthings, 3.5 x curvlinops", rows)


def small(data: Data) -> nn.Module:
    """An MLP small enough for all its eigenvalues."""
    torch.manual_seed(0)
    return trained(nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10)), data)


def density(peers: dict[str, Any], rounds: int, probes: int = 5, steps: int = 60) -> None:
    """The spectral density from the same number of products, and its Wasserstein distance from all eigenvalues."""
    data = digits()
    net = small(data)
    eigenvalues = torch.linalg.eigvalsh(hessian(net, LOSS, data)).numpy()
    exact = eigenvalues, np.full(len(eigenvalues), 1 / len(eigenvalues))
    seeds = iter(range(10**6))

    def ours() -> Any:
        found = spectral_density(net, LOSS, data, probes=probes, steps=steps, seed=next(seeds))
        return found.nodes, found.weights

    ways: dict[str, Answer] = {"thalweg": ours}
    if "PyHessian" in peers:

        def pyhessian() -> Any:
            net.zero_grad()
            found = peers["PyHessian"].hessian(net, LOSS, data=data, cuda=False).density(iter=steps, n_v=probes)
            net.zero_grad(set_to_none=True)
            return _distribution(*found)

        ways["PyHessian"] = pyhessian
    for name, operator in operators(peers, net, data).items():
        if name == "hessian-eigenthings":

            def estimate(operator: Any = operator, own: Any = peers[name]) -> Any:
                found = own.spectral_density(operator, num_runs=probes, lanczos_steps=steps, seed=1000 * next(seeds))
                return _distribution(found.raw_eigenvalues, found.raw_weights)
        else:

            def estimate(operator: Any = operator) -> Any:
                spectrum = import_module("curvlinops.papyan2020traces.spectrum")
                grid, height = spectrum.lanczos_approximate_spectrum(operator, steps, num_repeats=probes)
                return grid.numpy(), (height / height.sum()).numpy()

        ways[name] = estimate
    found = in_turn(ways, 5 * rounds)
    rows = {
        name: (seconds, f"Wasserstein error {mean(wasserstein(answer, exact) for answer in answers):.2e}")
        for name, (seconds, answers) in found.items()
    }
    show(f"Density, {probes} directions of {steps} products, MLP of {len(eigenvalues):,}: 2 x PyHessian", rows)


def _distribution(values: Any, weights: Any) -> tuple[np.ndarray, np.ndarray]:
    places, shares = np.concatenate([np.array(v) for v in values]), np.concatenate([np.array(w) for w in weights])
    order = np.argsort(places)
    return places[order], shares[order] / shares.sum()


def trace(peers: dict[str, Any], rounds: int, budget: int = 90) -> None:
    """The trace from the same number of products."""
    data = digits()
    net = small(data)
    true = float(hessian(net, LOSS, data).trace())
    seeds = iter(range(10**6))
    ways: dict[str, Answer] = {
        "thalweg": lambda: hessian_trace(net, LOSS, data, products=budget, seed=next(seeds)).value
    }
    for name, operator in operators(peers, net, data).items():
        if name == "hessian-eigenthings":
            own = peers[name]
            ways[name] = lambda o=operator, own=own: float(
                own.hutch_plus_plus(o, num_matvecs=budget, seed=next(seeds)).estimate
            )
        else:
            ways[name] = lambda o=operator, own=peers[name]: float(own.hutchpp_trace(o, budget))
    found = in_turn(ways, 20 * rounds)
    rows = {
        name: (seconds, f"mean error {100 * mean(abs(each - true) / abs(true) for each in answers):.2f} %")
        for name, (seconds, answers) in found.items()
    }
    show(f"Trace from {budget} products: error and cost no worse than curvlinops' Hutch++", rows)


def verdicts(rounds: int) -> None:
    """A verdict on trained networks for digits."""
    flat, image = digits(1079), digits(1079, image=True)
    nets = {
        "MLP 64-128-10": (nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)), flat),
        "CNN of two blocks": (cnn(1, 10, width=8), image),
    }
    print("\nA verdict on digits, under 5 s")
    for name, (net, data) in nets.items():
        trained(net, data, 200)
        found = in_turn({"verdict": lambda net=net, data=data: thalweg.critical_point(net, LOSS, data)}, rounds)
        seconds, answers = found["verdict"]
        print(f"  {name:<22} {seconds:9.4f} s  {answers[0].kind}, {answers[0].products} products")


def eig(matrix: Tensor, eigenvectors: bool = True) -> tuple[Tensor, Tensor]:
    """What torch.eig gave for a symmetric matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], 1), vectors


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    print(machine())
    peers = installed()
    torch.eig = eig  # type: ignore[attr-defined]
    products(peers, rounds)
    extremes(peers, rounds)
    density(peers, rounds)
    trace(peers, rounds)
    verdicts(rounds)


if __name__ == "__main__":
    main()
