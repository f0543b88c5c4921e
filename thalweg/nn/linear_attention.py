r"""Linear attention: a kernel in place of the softmax makes causal attention a recurrent network.

With $\mathrm{sim}(q, k) = \phi(q) \cdot \phi(k)$, $\phi(x) = \mathrm{elu}(x) + 1$, sums over keys can be taken before
any query is known (Katharopoulos et al., "Transformers are RNNs", 2020, equations 9 and 18 to 20):

$$ y_i = \frac{\sum_{j \le i} \phi(q_i) \cdot \phi(k_j) \, v_j}{\sum_{j \le i} \phi(q_i) \cdot \phi(k_j)}
       = \frac{\phi(q_i)^T S_i}{\phi(q_i)^T z_i}, \qquad
   S_i = S_{i-1} + \phi(k_i) v_i^T, \quad z_i = z_{i-1} + \phi(k_i) $$

The state (S, z) has one size whatever the length: a step costs the same at any position. All positions of a sequence
at once are done in chunks of C: what lies in earlier chunks by their sums S, what lies in the own chunk by its C x C
similarities. Time and memory grow as n, where softmax attention needs n n.
"""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import elu, pad

from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.nn.embedding import is_of
from thalweg.nn.knobs import check_count
from thalweg.nn.masks import check_lengths, described, present

CHUNK = 64
TINY = 1e-6
"""Added to the denominator, which is 0 where every similarity underflows."""


class LinearState(NamedTuple):
    """What a position leaves to the next: S `(batch, head, dim, dim)` and z `(batch, head, dim)`.

    >>> import torch
    >>> LinearState(torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8)).keys.shape
    torch.Size([2, 4, 8])
    """

    products: Float[Tensor, "batch head dim out"]
    keys: Float[Tensor, "batch head dim"]


class LinearAttention(nn.Module):
    """Causal linear attention of several heads: `(batch, length, width)` in and out.

    `layer(x)` gives all positions at once, `layer.step(state, x)` one after another from `layer.start(batch)`: the same
    outputs. Without biases. What stands in the padding (`lengths`) is not read, and 0 comes out there. Raises
    `RecipeError` for a width that heads do not divide, and for inputs and lengths of another shape.

    >>> import torch
    >>> layer, x = LinearAttention(8, heads=2), torch.randn(3, 5, 8)
    >>> state, outputs = layer.start(3), []
    >>> for time in range(5):
    ...     state, y = layer.step(state, x[:, time])
    ...     outputs.append(y)
    >>> bool(torch.allclose(torch.stack(outputs, dim=1), layer(x), atol=1e-5))
    True
    """

    def __init__(self, width: int, *, heads: int = 1) -> None:
        super().__init__()
        check_count("LinearAttention", "width", width)
        check_count("LinearAttention", "heads", heads)
        if width % heads:
            raise RecipeError(
                f"LinearAttention: {heads} heads do not divide a width of {width}. Give for instance "
                f"width={width - width % heads or heads}."
            )
        self.width, self.heads = width, heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))

    @no_type_check
    def forward(
        self, x: Float[Tensor, "batch length width"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch length width"]:
        if not is_of(x, 3) or x.shape[2] != self.width:
            raise RecipeError(
                f"LinearAttention was given {described(x)}, but takes real numbers of shape (batch, length, "
                f"{self.width}). Build it with the width that comes in."
            )
        if lengths is None:
            return self._found(x)
        check_lengths("LinearAttention", lengths, len(x))
        padding = ~present(lengths.to(x.device), x.shape[1])[..., None]
        return self._found(x.masked_fill(padding, 0.0)).masked_fill(padding, 0.0)

    def _found(self, x: Float[Tensor, "batch length width"]) -> Float[Tensor, "batch length width"]:
        output: Tensor = self.output(linear_attention(*self._parts(x)).transpose(1, 2).flatten(2))
        return output

    def start(self, batch: int) -> LinearState:
        """The state before the first position: zeros."""
        dim = self.width // self.heads
        zeros = self.key.weight.new_zeros
        return LinearState(zeros(batch, self.heads, dim, dim), zeros(batch, self.heads, dim))

    @no_type_check
    def step(
        self, state: LinearState, x: Float[Tensor, "batch width"]
    ) -> tuple[LinearState, Float[Tensor, "batch width"]]:
        """One position further: the new state, and the output there."""
        query, key, value = (part[:, :, 0] for part in self._parts(x[:, None]))
        query, key = features(query), features(key)
        state = LinearState(state.products + key[..., None] * value[..., None, :], state.keys + key)
        above = (query[..., None] * state.products).sum(-2)
        below = (query * state.keys).sum(-1, keepdim=True) + TINY
        return state, self.output((above / below).flatten(1))

    def _parts(self, x: Tensor) -> list[Float[Tensor, "batch head length dim"]]:
        return [
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        ]


def features(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    r"""$\phi(x) = \mathrm{elu}(x) + 1$: positive, so that similarities are.

    >>> import torch
    >>> features(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([0.3679, 1.0000, 3.0000])
    """
    return elu(x) + 1


@no_type_check
def linear_attention(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch head length dim"],
    value: Float[Tensor, "batch head length out"],
    *,
    chunk: int = CHUNK,
) -> Float[Tensor, "batch head length out"]:
    r"""Causal linear attention, all positions at once: $y_i = \phi(q_i)^T S_i / \phi(q_i)^T z_i$, in chunks.

    Padding at the end is seen by no position before it. Raises `RecipeError` for shapes that do not go together.

    >>> import torch
    >>> q, k, v = torch.randn(3, 2, 4, 100, 8).unbind()
    >>> y = linear_attention(q, k, v)
    >>> y.shape, bool(torch.allclose(y[:, :, 0], v[:, :, 0], atol=1e-4))  # the first position sees itself alone
    (torch.Size([2, 4, 100, 8]), True)
    """
    check_count("linear_attention", "chunk", chunk)
    if query.dim() != 4 or key.shape != query.shape or value.shape[:-1] != query.shape[:-1]:
        raise RecipeError(
            f"linear_attention was given query, key and value of shapes {tuple(query.shape)}, {tuple(key.shape)} and "
            f"{tuple(value.shape)}, but it is over one sequence: give all three as (batch, head, length, dim)."
        )
    length = query.shape[2]
    chunks = max(1, -(-length // chunk))
    missing = chunks * chunk - length
    query, key, value = (
        pad(each, (0, 0, 0, missing)).unflatten(2, (chunks, chunk)) for each in (features(query), features(key), value)
    )
    inside = (query @ key.mT).tril()
    before = pad((key.mT @ value).cumsum(2)[:, :, :-1], (0, 0, 0, 0, 1, 0))  # the sums of all earlier chunks
    keys_before = pad(key.sum(3).cumsum(2)[:, :, :-1], (0, 0, 1, 0))
    above = inside @ value + query @ before
    below = inside.sum(-1, keepdim=True) + query @ keys_before[..., None] + TINY
    return (above / below).flatten(2, 3)[:, :, :length]
