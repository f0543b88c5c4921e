"""An encoder traced whole, without breaks, against itself as it is: in a process of its own."""

from typing import Any

import torch

from thalweg.nn import encoder

SETTINGS: tuple[dict[str, Any], ...] = (
    {"norm": "batch", "order": "post", "positions": "rotary", "head": "position"},
    {"positions": "relative", "window": 2, "causal": True, "pool": "last"},
)


def main() -> None:
    """Tokens with and without lengths."""
    torch.set_num_threads(1)
    tokens, lengths = torch.tensor([[4, 5, 6, 7], [7, 3, 0, 0]]), torch.tensor([4, 2])
    for settings in SETTINGS:
        torch.compiler.reset()
        model = encoder(3, vocabulary=9, width=8, depth=1, heads=2, **settings)
        whole = torch.compile(model, fullgraph=True, backend="eager")
        for inputs in ((tokens,), (tokens, lengths)):
            torch.testing.assert_close(whole(*inputs), model(*inputs))


if __name__ == "__main__":
    main()
