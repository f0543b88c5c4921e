"""Networks and what wraps them."""

from thalweg.nn.additive_attention import AdditiveAttention, DotAttention
from thalweg.nn.alignment import chunkwise_weights, expected_alignment, monotonic_alignment
from thalweg.nn.attend import attend
from thalweg.nn.attention import MultiHeadAttention, SelfAttention
from thalweg.nn.cnn import cnn
from thalweg.nn.convolution_as_attention import ConvolutionAsAttention, as_attention, as_dense
from thalweg.nn.copying import Pointer, mixture
from thalweg.nn.decoder_layer import DecoderLayer
from thalweg.nn.encoder import Encoder, EncoderLayer, encoder
from thalweg.nn.frozen import Frozen, Pretrained, pretrained
from thalweg.nn.graph import GraphAttention, GraphConvolution, GraphNetwork, arcs, gat, gcn
from thalweg.nn.inputs import NoisyInputs, Prepared, Standardized
from thalweg.nn.light import lighter
from thalweg.nn.linear_attention import LinearAttention, LinearState, linear_attention
from thalweg.nn.local import LocallyConnected2d, same_outputs, unshared
from thalweg.nn.local_attention import local_attention
from thalweg.nn.location_attention import LocationAttention
from thalweg.nn.masks import band_mask, causal_mask, edge_mask, padding_mask, present
from thalweg.nn.mlp import mlp
from thalweg.nn.monotonic_attention import ChunkwiseAttention, MonotonicAttention
from thalweg.nn.normalization import normalization
from thalweg.nn.pooling import pool_over
from thalweg.nn.positions import LearnedPositions, RelativeBias, SinusoidalPositions, rotated, sinusoidal
from thalweg.nn.power_norm import PowerNorm
from thalweg.nn.recurrent import Recurrent, rnn
from thalweg.nn.rnn_seq2seq import RecurrentSeq2Seq, rnn_seq2seq
from thalweg.nn.sequence_norm import SequenceNorm
from thalweg.nn.spatial_transformer import SpatialTransformer, localization_net
from thalweg.nn.temperature import Temperature
from thalweg.nn.transformer import Transformer, transformer
from thalweg.nn.tree_reader import TreeReader
from thalweg.nn.word_features import WordFeatures

__all__ = [
    "AdditiveAttention",
    "ChunkwiseAttention",
    "ConvolutionAsAttention",
    "DecoderLayer",
    "DotAttention",
    "Encoder",
    "EncoderLayer",
    "Frozen",
    "GraphAttention",
    "GraphConvolution",
    "GraphNetwork",
    "LearnedPositions",
    "LinearAttention",
    "LinearState",
    "LocallyConnected2d",
    "LocationAttention",
    "MonotonicAttention",
    "MultiHeadAttention",
    "NoisyInputs",
    "Pointer",
    "PowerNorm",
    "Prepared",
    "Pretrained",
    "Recurrent",
    "RecurrentSeq2Seq",
    "RelativeBias",
    "SelfAttention",
    "SequenceNorm",
    "SinusoidalPositions",
    "SpatialTransformer",
    "Standardized",
    "Temperature",
    "Transformer",
    "TreeReader",
    "WordFeatures",
    "arcs",
    "as_attention",
    "as_dense",
    "attend",
    "band_mask",
    "causal_mask",
    "chunkwise_weights",
    "cnn",
    "edge_mask",
    "encoder",
    "expected_alignment",
    "gat",
    "gcn",
    "lighter",
    "linear_attention",
    "local_attention",
    "localization_net",
    "mixture",
    "mlp",
    "monotonic_alignment",
    "normalization",
    "padding_mask",
    "pool_over",
    "present",
    "pretrained",
    "rnn",
    "rnn_seq2seq",
    "rotated",
    "same_outputs",
    "sinusoidal",
    "transformer",
    "unshared",
]
