"""The order task: which of two tokens comes first in a sequence of others, and at what lengths is that still known.

`python tests/order.py` prints how often networks trained at one length are right there, and at two and four times it.
"""

import torch
from torch import Tensor, nn

from thalweg.nn import Encoder, encoder

FIRST, SECOND, OTHERS = 2, 3, 16


def order_task(count: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Sequences with tokens 2 and 3 once each, others at random, and whether 3 comes before 2."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, OTHERS, (count, length), generator=random)
    places = torch.rand(count, length, generator=random).argsort(1)[:, :2]
    tokens.scatter_(1, places, torch.tensor([FIRST, SECOND]).expand(count, -1))
    return tokens, (places[:, 0] > places[:, 1]).long()


def trained(positions: str | None, length: int, steps: int, seed: int = 0) -> Encoder:
    """A small encoder after so many steps of Adam, each on 64 sequences that are new."""
    torch.manual_seed(seed)
    model = encoder(2, vocabulary=OTHERS, width=32, depth=2, heads=2, positions=positions, length=length)
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=3e-3), nn.CrossEntropyLoss()
    for step in range(steps):
        tokens, target = order_task(64, length, seed=1000 * seed + step + 1)
        optimizer.zero_grad()
        loss(model(tokens), target).backward()
        optimizer.step()
    return model.eval()


def accuracy(model: Encoder, length: int, count: int = 500) -> float:
    """How often it is right on new sequences of a length."""
    tokens, target = order_task(count, length, seed=10**6)
    with torch.no_grad():
        return float((model(tokens).argmax(1) == target).double().mean())


def main(length: int = 16, steps: int = 600, seeds: int = 2) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{'positions':<12} " + " ".join(f"{times * length:>6}" for times in (1, 2, 4)))
    for positions in ("sinusoidal", "learned", "relative", "rotary", None):
        rows = []
        for seed in range(seeds):
            model = trained(positions, length, steps, seed)
            reached = (1,) if positions == "learned" else (1, 2, 4)
            rows.append([accuracy(model, times * length) for times in reached])
        means = [sum(column) / seeds for column in zip(*rows, strict=True)]
        print(f"{positions!s:<12} " + " ".join(f"{mean:6.3f}" for mean in means))


if __name__ == "__main__":
    main()
