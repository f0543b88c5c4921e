"""Tables, images, graphs and recordings: from files to batches, and from outputs back to a table."""

from thalweg.data.audio import LogMel, read_recording
from thalweg.data.audio_augmentation import Masked, SpecAugment, mask_frames
from thalweg.data.augmentation import Augment
from thalweg.data.augmented import Augmented, AugmentedStream, augment
from thalweg.data.bundled import BUNDLED, Bundled, bundled
from thalweg.data.encoding import Encoding, fit_encoding
from thalweg.data.geometric import from_geometric
from thalweg.data.graph_encoding import GraphEncoding, GraphSchema
from thalweg.data.graph_loading import load_graph
from thalweg.data.graph_source import GraphSource
from thalweg.data.graphs import Graph, read_graph
from thalweg.data.holdout import HeldOut, hold_out
from thalweg.data.image_encoding import ImageEncoding, ImageSchema
from thalweg.data.image_gathering import ImageOptions
from thalweg.data.image_loading import load_image_splits
from thalweg.data.image_prediction import image_inputs, judged_images
from thalweg.data.image_sniffing import holds_images
from thalweg.data.image_source import ImageSource
from thalweg.data.images import ImageFolder, load_images
from thalweg.data.inference import Roles, infer_roles, infer_schema
from thalweg.data.karate import karate
from thalweg.data.loading import load_table
from thalweg.data.parquet_source import ParquetSource
from thalweg.data.predictions import prediction_frame
from thalweg.data.reading import read_table
from thalweg.data.recordings import AudioOptions, Recordings, gather_recordings, gather_sounds
from thalweg.data.schema import Column, Kind, Schema, Target, TargetKind
from thalweg.data.table import Table, read_features, read_rows
from thalweg.data.table_source import TableSource

__all__ = [
    "BUNDLED",
    "AudioOptions",
    "Augment",
    "Augmented",
    "AugmentedStream",
    "Bundled",
    "Column",
    "Encoding",
    "Graph",
    "GraphEncoding",
    "GraphSchema",
    "GraphSource",
    "HeldOut",
    "ImageEncoding",
    "ImageFolder",
    "ImageOptions",
    "ImageSchema",
    "ImageSource",
    "Kind",
    "LogMel",
    "Masked",
    "ParquetSource",
    "Recordings",
    "Roles",
    "Schema",
    "SpecAugment",
    "Table",
    "TableSource",
    "Target",
    "TargetKind",
    "augment",
    "bundled",
    "fit_encoding",
    "from_geometric",
    "gather_recordings",
    "gather_sounds",
    "hold_out",
    "holds_images",
    "image_inputs",
    "infer_roles",
    "infer_schema",
    "judged_images",
    "karate",
    "load_graph",
    "load_image_splits",
    "load_images",
    "load_table",
    "mask_frames",
    "prediction_frame",
    "read_features",
    "read_graph",
    "read_recording",
    "read_rows",
    "read_table",
]
