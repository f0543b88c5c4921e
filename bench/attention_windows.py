"""Local attention against full attention, a band mask, and lucidrains' local-attention: time and memory by length.

All are one thread, causal, a window of 128, 4 heads of 64; seconds of the processor, in turn. A peer that is not
installed is said to be missing (pip install local-attention).
"""

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from math import log
from statistics import median
from time import process_time
from typing import Any

import torch
from machine import machine
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

from thalweg.nn import local_attention

WINDOW, HEADS, DIM = 128, 4, 64
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def full(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every position sees all before it."""
    return scaled_dot_product_attention(q, k, v, is_causal=True)


def band(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same outputs as ours, by a mask of full size."""
    at = torch.arange(q.shape[2])
    offset = at[:, None] - at
    return scaled_dot_product_attention(q, k, v, attn_mask=(offset >= 0) & (offset <= WINDOW))


def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Blocks and their windows."""
    return local_attention(q, k, v, WINDOW, causal=True)


def padded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Both sides, and an example that ends before the tensor does: a mask for every block."""
    return local_attention(q, k, v, WINDOW, lengths=torch.full((len(q),), q.shape[2] - 7))


def both_sides(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A window back and a window ahead."""
    return local_attention(q, k, v, WINDOW)


def lucidrains() -> dict[str, Attention]:
    """The package local-attention, if it is there: blocks of a window, the one before looked at too."""
    if find_spec("local_attention") is None:
        print("missing: local-attention")
        return {}
    from local_attention import LocalAttention

    peer: Any = LocalAttention(
        dim=DIM, window_size=WINDOW, causal=True, look_backward=1, look_forward=0, dropout=0.0, autopad=True,
        exact_windowsize=True, use_rotary_pos_emb=False,
    )  # fmt: skip
    return {"local-attention": peer}


def inputs(length: int) -> list[Tensor]:
    """Query, key and value of one example."""
    made = torch.Generator().manual_seed(0)
    return [torch.randn(1, HEADS, length, DIM, generator=made).requires_grad_() for _ in range(3)]


def forward(way: Attention, qkv: list[Tensor]) -> None:
    """Outputs alone."""
    with torch.no_grad():
        way(*qkv)


def both(way: Attention, qkv: list[Tensor]) -> None:
    """Outputs and the gradients of their sum."""
    torch.autograd.grad(way(*qkv).sum(), qkv)


def timed(ways: dict[str, Attention], length: int, run: Callable[..., None], rounds: int) -> dict[str, float]:
    """Median processor seconds of each, in turn."""
    qkv, taken = inputs(length), {name: [] for name in ways}  # type: dict[str, list[float]]
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = process_time()
            run(way, qkv)
            if number:
                taken[name].append(process_time() - started)
    return {name: median(seconds) for name, seconds in taken.items()}


def peak(way: Attention, length: int, run: Callable[..., None]) -> int:
    """The most bytes that were held at a time beyond the inputs."""
    qkv = inputs(length)
    run(way, qkv)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run(way, qkv)
    assert recorded.profiler is not None
    results: Any = recorded.profiler.kineto_results
    held = most = 0
    for event in sorted((e for e in results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    ways = {"full": full, "band mask": band, **lucidrains(), "ours": ours, "ours, both sides": both_sides}
    ways["ours, both sides, padding"] = padded
    for length in chosen.lengths:
        for run in (forward, both):
            rounds = chosen.rounds * 5 if length == 512 else chosen.rounds
            seconds = timed(ways, length, run, rounds)
            print(f"\n{length} positions, {'forward' if run is forward else 'forward and backward'}")
            for name, each in seconds.items():
                print(f"  {name:<28} {1e3 * each:9.2f} ms {seconds['full'] / each:6.2f} x", end="")
                print(f" {peak(ways[name], length, run) / 2**20:9.1f} MiB", flush=True)
    for run in (forward, both):
        for first in (512, 2048):
            short, long = (timed({"ours": ours}, length, run, 30)["ours"] for length in (first, 8192))
            small, large = (peak(ours, length, run) for length in (first, 8192))
            times, bytes_ = (log(more / less) / log(8192 / first) for more, less in ((long, short), (large, small)))
            print(f"{run.__name__}: from {first} to 8192 time grows as n^{times:.3f}, memory as n^{bytes_:.3f}")


if __name__ == "__main__":
    main()
