"""Tables, images, sequences, graphs and recordings: from files to batches, and from outputs back to a table."""

from thalweg.data.audio import LogMel, read_recording
from thalweg.data.audio_augmentation import Masked, SpecAugment, mask_frames
from thalweg.data.augmentation import Augment
from thalweg.data.augmented import Augmented, AugmentedStream, augment
from thalweg.data.bundled import BUNDLED, Bundled, bundled
from thalweg.data.conll import holds_conll, read_conll
from thalweg.data.conll_loading import conll_splits
from thalweg.data.conll_writing import retagged
from thalweg.data.dependency_brackets import bracketed_sentences
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
from thalweg.data.pair_encoding import PairEncoding
from thalweg.data.pair_loading import judged_pairs, pair_splits
from thalweg.data.pair_reading import read_pairs
from thalweg.data.pair_schema import PairSchema
from thalweg.data.pair_source import PairSource
from thalweg.data.parquet_source import ParquetSource
from thalweg.data.predictions import prediction_frame
from thalweg.data.ragged import Ragged
from thalweg.data.reading import read_table
from thalweg.data.recording_loading import judged_recordings, recording_splits
from thalweg.data.recordings import AudioOptions, Recordings, gather_recordings, gather_sounds
from thalweg.data.schema import Column, Kind, Schema, Target, TargetKind
from thalweg.data.sequence_encoding import SequenceEncoding, SequenceSchema
from thalweg.data.sequence_source import SequenceSource
from thalweg.data.sequences import frame_splits, sequences_of
from thalweg.data.sniffing import holds_graph, holds_pairs, holds_recordings, holds_tags, holds_text
from thalweg.data.speech_encoding import SpeechEncoding, SpeechSchema
from thalweg.data.speech_loading import judged_speech, speech_splits
from thalweg.data.speech_manifest import holds_speech
from thalweg.data.speech_source import SpeechSource
from thalweg.data.table import Table, read_features, read_rows
from thalweg.data.table_source import TableSource
from thalweg.data.tag_predictions import tag_frame
from thalweg.data.text_table import text_column, text_splits
from thalweg.data.vocabulary import Vocabulary
from thalweg.data.world_names import names_frame, names_splits

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
    "PairEncoding",
    "PairSchema",
    "PairSource",
    "ParquetSource",
    "Ragged",
    "Recordings",
    "Roles",
    "Schema",
    "SequenceEncoding",
    "SequenceSchema",
    "SequenceSource",
    "SpecAugment",
    "SpeechEncoding",
    "SpeechSchema",
    "SpeechSource",
    "Table",
    "TableSource",
    "Target",
    "TargetKind",
    "Vocabulary",
    "augment",
    "bracketed_sentences",
    "bundled",
    "conll_splits",
    "fit_encoding",
    "frame_splits",
    "from_geometric",
    "gather_recordings",
    "gather_sounds",
    "hold_out",
    "holds_conll",
    "holds_graph",
    "holds_images",
    "holds_pairs",
    "holds_recordings",
    "holds_speech",
    "holds_tags",
    "holds_text",
    "image_inputs",
    "infer_roles",
    "infer_schema",
    "judged_images",
    "judged_pairs",
    "judged_recordings",
    "judged_speech",
    "karate",
    "load_graph",
    "load_image_splits",
    "load_images",
    "load_table",
    "mask_frames",
    "names_frame",
    "names_splits",
    "pair_splits",
    "prediction_frame",
    "read_conll",
    "read_features",
    "read_graph",
    "read_pairs",
    "read_recording",
    "read_rows",
    "read_table",
    "recording_splits",
    "retagged",
    "sequences_of",
    "speech_splits",
    "tag_frame",
    "text_column",
    "text_splits",
]
