"""Networks and what wraps them."""

from thalweg.nn.attend import attend
from thalweg.nn.attention import MultiHeadAttention, SelfAttention
from thalweg.nn.cnn import cnn
from thalweg.nn.encoder import Encoder, EncoderLayer, encoder
from thalweg.nn.frozen import Frozen, Pretrained, pretrained
from thalweg.nn.inputs import NoisyInputs, Prepared, Standardized
from thalweg.nn.local import LocallyConnected2d, same_outputs, unshared
from thalweg.nn.masks import band_mask, causal_mask, edge_mask, padding_mask, present
from thalweg.nn.mlp import mlp
from thalweg.nn.normalization import normalization
from thalweg.nn.pooling import pool_over
from thalweg.nn.positions import LearnedPositions, RelativeBias, SinusoidalPositions, rotated, sinusoidal
from thalweg.nn.power_norm import PowerNorm
from thalweg.nn.sequence_norm import SequenceNorm
from thalweg.nn.spatial_transformer import SpatialTransformer, localization_net
from thalweg.nn.temperature import Temperature

__all__ = [
    "Encoder",
    "EncoderLayer",
    "Frozen",
    "LearnedPositions",
    "LocallyConnected2d",
    "MultiHeadAttention",
    "NoisyInputs",
    "PowerNorm",
    "Prepared",
    "Pretrained",
    "RelativeBias",
    "SelfAttention",
    "SequenceNorm",
    "SinusoidalPositions",
    "SpatialTransformer",
    "Standardized",
    "Temperature",
    "attend",
    "band_mask",
    "causal_mask",
    "cnn",
    "edge_mask",
    "encoder",
    "localization_net",
    "mlp",
    "normalization",
    "padding_mask",
    "pool_over",
    "present",
    "pretrained",
    "rotated",
    "same_outputs",
    "sinusoidal",
    "unshared",
]
