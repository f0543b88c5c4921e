"""Networks of all kinds, written as people write them, each with a batch: what growth is tried on."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Made = dict[str, tuple[Callable[[], nn.Module], Any]]


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.short = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.short(x))


class ResNet(nn.Module):
    """Residual blocks of convolutions, a mean over places, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.layer1 = nn.Sequential(ResidualBlock(6, 6), ResidualBlock(6, 6))
        self.layer2 = nn.Sequential(ResidualBlock(6, 10, 2), ResidualBlock(10, 10))
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(self.layer2(self.layer1(self.stem(x))), 1).flatten(1))


class PackedTagger(nn.Module):
    """A bidirectional LSTM over packed sequences, a tag for each token; 0 is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6, padding_idx=0)
        self.lstm = nn.LSTM(6, 5, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        lengths = (tokens != 0).sum(1).clamp(min=1)
        packed = pack_padded_sequence(self.embedding(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=tokens.shape[1])
        return self.head(output).transpose(1, 2)


class LastState(nn.Module):
    """A GRU of which a linear head reads the last state, with a first state of its own making."""

    def __init__(self, hidden: int = 7) -> None:
        super().__init__()
        self.hidden_size = hidden
        self.gru = nn.GRU(3, hidden, num_layers=2, batch_first=True, dropout=0.1)
        self.head = nn.Linear(hidden, 4)

    def forward(self, x: Tensor) -> Tensor:
        start = torch.zeros(2, len(x), self.hidden_size)
        return self.head(self.gru(x, start)[0][:, -1])


class TimeFirst(nn.Module):
    """A recurrent network whose time comes first, with a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 8, proj_size=4)
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        _, (state, _) = self.lstm(x.transpose(0, 1))
        return self.head(state[-1])


class CellByCell(nn.Module):
    """A recurrent cell that is stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head, self.units = nn.LSTMCell(3, 6), nn.Linear(6, 4), 6

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), self.units), x.new_zeros(len(x), self.units)
        for time in range(x.shape[1]):
            state = self.cell(x[:, time], state)
        return self.head(state[0])


class EncoderWithClassToken(nn.Module):
    """A Transformer encoder with learned positions and a class token."""

    def __init__(self, d_model: int = 8) -> None:
        super().__init__()
        self.embed = nn.Linear(3, d_model)
        self.token = nn.Parameter(torch.zeros(1, 1, d_model))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 10, d_model))
        layer = nn.TransformerEncoderLayer(d_model, 2, 12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], 1)
        x = self.encoder(x + self.positions[:, : x.shape[1]])
        return self.head(self.norm(x[:, 0]))


class SinusoidalTransformer(nn.Module):
    """An encoder of tokens, with positions in a buffer and a width that scales its embedding."""

    def __init__(self, d_model: int = 8) -> None:
        super().__init__()
        self.d_model = d_model
        self.embedding = nn.Embedding(11, d_model)
        angles = torch.arange(20.0)[:, None] / 10 ** (torch.arange(0, d_model, 2) / d_model)
        self.register_buffer("pe", torch.stack([angles.sin(), angles.cos()], 2).flatten(1))
        self.encoder = nn.TransformerEncoderLayer(d_model, 4, 16, batch_first=True, norm_first=True)
        self.head = nn.Linear(d_model, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) * math.sqrt(self.d_model) + self.pe[: tokens.shape[1]]
        return self.head(self.encoder(x).mean(1))


class CausalAttention(nn.Module):
    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.n_embd, self.n_head = n_embd, n_head
        self.register_buffer("mask", torch.tril(torch.ones(16, 16)))

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        parts = self.c_attn(x).split(self.n_embd, dim=2)
        q, k, v = (part.view(batch, time, self.n_head, width // self.n_head).transpose(1, 2) for part in parts)
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(k.shape[-1])
        scores = scores.masked_fill(self.mask[:time, :time] == 0, float("-inf")).softmax(-1)
        return self.c_proj((scores @ v).transpose(1, 2).reshape(batch, time, width))


class Block(nn.Module):
    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn = CausalAttention(n_embd, 2)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class LanguageModel(nn.Module):
    """A small language model whose head is its embedding."""

    def __init__(self, n_embd: int = 8) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(11, n_embd), nn.Embedding(16, n_embd)
        self.h = nn.ModuleList([Block(n_embd) for _ in range(2)])
        self.ln_f, self.head = nn.LayerNorm(n_embd), nn.Linear(n_embd, 11, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        return self.head(self.ln_f(x)).transpose(1, 2)


class FunctionallyTied(nn.Module):
    """A language model that multiplies by its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.gru = nn.Embedding(11, 6), nn.GRU(6, 6, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return (self.gru(self.embedding(tokens))[0] @ self.embedding.weight.T).transpose(1, 2)


class OwnAttention(nn.Module):
    """Attention written by hand, with the size of a head kept as a number."""

    def __init__(self, dim: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.embed, self.head = nn.Linear(3, dim), nn.Linear(dim, 4)
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = (
            part(x).view(*x.shape[:2], self.heads, self.head_dim).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.head((x + seen.reshape(*x.shape[:2], self.heads * self.head_dim)).mean(1))


class MixerBlock(nn.Module):
    def __init__(self, patches: int, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.tokens = nn.Sequential(nn.Linear(patches, 5), nn.GELU(), nn.Linear(5, patches))
        self.channels = nn.Sequential(nn.Linear(dim, 11), nn.GELU(), nn.Linear(11, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    """An MLP-mixer: it mixes places, then channels; the number of places is no width."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 7, 2, 2)
        self.blocks = nn.Sequential(MixerBlock(16, 7), MixerBlock(16, 7))
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


class UNet(nn.Module):
    """A U-Net with one skip, whose output is an image."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU())
        self.down2 = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.join = nn.Sequential(nn.Conv2d(8, 4, 3, padding=1), nn.ReLU())
        self.out = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        return self.out(self.join(torch.cat([first, self.up(self.down2(first))], 1)))


class Separable(nn.Module):
    """Depthwise filters and filters of one pixel, then groups."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.PReLU(6), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, 8, 1),
            nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class FixedReshape(nn.Module):
    """A convolutional network that lays out its last filters by numbers in the program."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3)
        self.fc1, self.fc2 = nn.Linear(6 * 2 * 2, 10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        return self.fc2(F.relu(self.fc1(x.view(-1, 6 * 2 * 2))))


class Siamese(nn.Module):
    """One encoder, twice, and a bilinear form of what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 5))
        self.pair = nn.Bilinear(5, 5, 4)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return self.pair(self.encoder(one), self.encoder(other))


class TwoInputs(nn.Module):
    """Numbers and a category, joined; the inputs themselves are joined once more before the head."""

    def __init__(self) -> None:
        super().__init__()
        self.category, self.numbers = nn.Embedding(11, 4), nn.Linear(3, 6)
        self.joint, self.head = nn.Linear(10, 7), nn.Linear(7 + 3, 4)

    def forward(self, category: Tensor, numbers: Tensor) -> Tensor:
        hidden = torch.cat([self.category(category), F.relu(self.numbers(numbers))], 1)
        return self.head(torch.cat([F.relu(self.joint(hidden)), numbers], 1))


class Autoencoder(nn.Module):
    """Convolutions down to a code and transposed ones back."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1), nn.ReLU(),
            nn.ConvTranspose2d(4, 1, 3, 2, 1, output_padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class Gated(nn.Module):
    """A gated linear unit with a scale of its own for each channel, in a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gate, self.head = nn.Linear(3, 6), nn.Linear(6, 12), nn.Linear(6, 4)
        self.scale = nn.Parameter(torch.full((6,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.head(x + self.scale * F.glu(self.gate(x)))


class TwoHeads(nn.Module):
    """One trunk and two heads, of which the outputs are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh())
        self.one, self.other = nn.Linear(6, 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.trunk(x)
        return torch.cat([self.one(hidden), self.other(hidden)], 1)


class Convolutional1d(nn.Module):
    """Dilated convolutions in time, normalized weights aside."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(6, 6, 3, padding=2**i, dilation=2**i) for i in range(3)])
        self.first, self.head = nn.Conv1d(3, 6, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.transpose(1, 2))
        for layer in self.layers:
            x = x + F.relu(layer(x))
        return self.head(x.mean(2))


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(3))


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Dropout(0.1), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4))


DRAW = torch.Generator().manual_seed(0)
ROWS, TIMES, IMAGES = (torch.randn(size, generator=DRAW) for size in ((9, 3), (9, 5, 3), (9, 1, 8, 8)))
TOKENS = torch.randint(1, 11, (9, 5), generator=DRAW)
FOUR, THREE, TAGS = (torch.randint(most, size, generator=DRAW) for most, size in ((4, (9,)), (3, (9,)), (4, (9, 5))))
NETWORKS: Made = {
    "residual CNN": (ResNet, (IMAGES, THREE)),
    "packed LSTM tagger": (PackedTagger, (TOKENS, TAGS)),
    "GRU with a first state": (LastState, (TIMES, FOUR)),
    "LSTM, time first": (TimeFirst, (TIMES, FOUR)),
    "recurrent cell": (CellByCell, (TIMES, FOUR)),
    "Transformer with a class token": (EncoderWithClassToken, (TIMES, FOUR)),
    "Transformer with a buffer of positions": (SinusoidalTransformer, (TOKENS, FOUR)),
    "tied language model": (LanguageModel, (TOKENS, TOKENS)),
    "functionally tied language model": (FunctionallyTied, (TOKENS, TOKENS)),
    "attention by hand": (OwnAttention, (TIMES, FOUR)),
    "mixer": (Mixer, (IMAGES, THREE)),
    "U-Net": (UNet, (IMAGES, IMAGES)),
    "depthwise separable CNN": (Separable, (IMAGES, THREE)),
    "CNN with a fixed reshape": (FixedReshape, (IMAGES, THREE)),
    "siamese": (Siamese, ((ROWS, ROWS.flip(0)), FOUR)),
    "two inputs": (TwoInputs, ((TOKENS[:, 0], ROWS), FOUR)),
    "convolutional autoencoder": (Autoencoder, (IMAGES, IMAGES)),
    "gated residual": (Gated, (ROWS, FOUR)),
    "two heads": (TwoHeads, (ROWS, FOUR)),
    "dilated convolutions": (Convolutional1d, (TIMES, FOUR)),
    "lazy": (lazy, (IMAGES, THREE)),
    "plain": (plain, (ROWS, FOUR)),
}
