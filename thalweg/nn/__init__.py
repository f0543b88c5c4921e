"""Networks and what wraps them."""

from thalweg.nn.cnn import cnn
from thalweg.nn.frozen import Frozen, Pretrained, pretrained
from thalweg.nn.inputs import NoisyInputs, Prepared, Standardized
from thalweg.nn.mlp import mlp
from thalweg.nn.spatial_transformer import SpatialTransformer, localization_net
from thalweg.nn.temperature import Temperature

__all__ = [
    "Frozen",
    "NoisyInputs",
    "Prepared",
    "Pretrained",
    "SpatialTransformer",
    "Standardized",
    "Temperature",
    "cnn",
    "localization_net",
    "mlp",
    "pretrained",
]
