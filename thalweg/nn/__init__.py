"""Networks and what wraps them."""

from thalweg.nn.cnn import cnn
from thalweg.nn.frozen import Frozen, Pretrained, pretrained
from thalweg.nn.inputs import NoisyInputs, Prepared, Standardized
from thalweg.nn.local import LocallyConnected2d, same_outputs, unshared
from thalweg.nn.local_attention import local_attention
from thalweg.nn.mlp import mlp
from thalweg.nn.normalization import normalization
from thalweg.nn.power_norm import PowerNorm
from thalweg.nn.spatial_transformer import SpatialTransformer, localization_net
from thalweg.nn.temperature import Temperature

__all__ = [
    "Frozen",
    "LocallyConnected2d",
    "NoisyInputs",
    "PowerNorm",
    "Prepared",
    "Pretrained",
    "SpatialTransformer",
    "Standardized",
    "Temperature",
    "cnn",
    "local_attention",
    "localization_net",
    "mlp",
    "normalization",
    "pretrained",
    "same_outputs",
    "unshared",
]
