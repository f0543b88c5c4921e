"""A training step of the encoder against `nn.TransformerEncoder` of the same size, in turn, on one thread.

Both: three layers of width 256 with 4 heads and 1,024 hidden units, ReLU, layer norm before or after, no dropout,
batches of 32 sequences of 64 vectors; forward and backward.
Seconds of processor time, which other programs on the machine disturb least.
"""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from time import process_time

import torch
from machine import in_turn, machine, show
from torch import Tensor, nn

from thalweg.nn import EncoderLayer, SequenceNorm
from thalweg.nn.masks import present

WIDTH, HEADS, HIDDEN, DEPTH = 256, 4, 1024, 3


class Ours(nn.Module):
    """The layers of `thalweg.nn.encoder` and its last norm."""

    def __init__(self, order: str, causal: bool) -> None:
        super().__init__()
        made = (EncoderLayer(WIDTH, HEADS, feed_forward=HIDDEN, order=order, causal=causal) for _ in range(DEPTH))
        self.layers = nn.ModuleList(made)
        self.norm = SequenceNorm("layer", WIDTH)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The stream at the end."""
        for layer in self.layers:
            x = layer(x, lengths)
        return self.norm(x)


class Theirs(nn.Module):
    """torch's own encoder, with the masks that it takes."""

    def __init__(self, order: str, causal: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, HIDDEN, dropout=0.0, batch_first=True, norm_first=order == "pre"
        )
        self.encoder = nn.TransformerEncoder(layer, DEPTH, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.causal = causal

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The stream at the end."""
        padding = None if lengths is None else ~present(lengths, x.shape[1])
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if self.causal else None
        return self.encoder(x, mask=mask, src_key_padding_mask=padding, is_causal=self.causal)


def step(
    model: nn.Module, x: Tensor, lengths: Tensor | None, context: Callable[[], AbstractContextManager[object]]
) -> None:
    """Forward and backward."""
    model.zero_grad()
    with context():
        loss = model(x, lengths).square().mean()
    loss.backward()


def halves() -> AbstractContextManager[object]:
    """Products in bfloat16."""
    return torch.autocast("cpu", torch.bfloat16)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    torch.manual_seed(0)
    x = torch.randn(chosen.batch, chosen.length, WIDTH)
    some = torch.randint(chosen.length // 2, chosen.length + 1, (chosen.batch,))
    for title, order, causal, lengths in (
        ("post-norm", "post", False, None),
        ("pre-norm", "pre", False, None),
        ("pre-norm, causal", "pre", True, None),
        ("pre-norm, padded", "pre", False, some),
    ):
        models: dict[str, nn.Module] = {"nn.TransformerEncoder": Theirs(order, causal), "thalweg": Ours(order, causal)}
        for name, context in (("float32", nullcontext), ("bfloat16 by autocast", halves)):
            ways = {key: partial(step, model, x, lengths, context) for key, model in models.items()}
            show(f"{title}, {name}", in_turn(ways, chosen.rounds, process_time), "nn.TransformerEncoder")


if __name__ == "__main__":
    main()
