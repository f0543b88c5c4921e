"""Networks and what wraps them."""

from thalweg.nn.cnn import cnn
from thalweg.nn.convolution_as_attention import ConvolutionAsAttention, as_attention, as_dense
from thalweg.nn.frozen import Frozen, Pretrained, pretrained
from thalweg.nn.graph import GraphAttention, GraphConvolution, GraphNetwork, arcs, gat, gcn
from thalweg.nn.inputs import NoisyInputs, Prepared, Standardized
from thalweg.nn.linear_attention import LinearAttention, LinearState, linear_attention
from thalweg.nn.local import LocallyConnected2d, same_outputs, unshared
from thalweg.nn.local_attention import local_attention
from thalweg.nn.mlp import mlp
from thalweg.nn.normalization import normalization
from thalweg.nn.power_norm import PowerNorm
from thalweg.nn.recurrent import Recurrent, rnn
from thalweg.nn.spatial_transformer import SpatialTransformer, localization_net
from thalweg.nn.temperature import Temperature

__all__ = [
    "ConvolutionAsAttention",
    "Frozen",
    "GraphAttention",
    "GraphConvolution",
    "GraphNetwork",
    "LinearAttention",
    "LinearState",
    "LocallyConnected2d",
    "NoisyInputs",
    "PowerNorm",
    "Prepared",
    "Pretrained",
    "Recurrent",
    "SpatialTransformer",
    "Standardized",
    "Temperature",
    "arcs",
    "as_attention",
    "as_dense",
    "cnn",
    "gat",
    "gcn",
    "linear_attention",
    "local_attention",
    "localization_net",
    "mlp",
    "normalization",
    "pretrained",
    "rnn",
    "same_outputs",
    "unshared",
]
