"""Tables and images: from files to batches, and from outputs back to a table."""

from thalweg.data.augmentation import Augment
from thalweg.data.augmented import Augmented, AugmentedStream, augment
from thalweg.data.bundled import BUNDLED, Bundled, bundled
from thalweg.data.encoding import Encoding, fit_encoding
from thalweg.data.holdout import HeldOut, hold_out
from thalweg.data.images import ImageFolder, load_images
from thalweg.data.inference import Roles, infer_roles, infer_schema
from thalweg.data.loading import load_table
from thalweg.data.parquet_source import ParquetSource
from thalweg.data.predictions import prediction_frame
from thalweg.data.reading import read_table
from thalweg.data.schema import Column, Kind, Schema, Target, TargetKind
from thalweg.data.table import Table, read_features, read_rows
from thalweg.data.table_source import TableSource

__all__ = [
    "BUNDLED",
    "Augment",
    "Augmented",
    "AugmentedStream",
    "Bundled",
    "Column",
    "Encoding",
    "HeldOut",
    "ImageFolder",
    "Kind",
    "ParquetSource",
    "Roles",
    "Schema",
    "Table",
    "TableSource",
    "Target",
    "TargetKind",
    "augment",
    "bundled",
    "fit_encoding",
    "hold_out",
    "infer_roles",
    "infer_schema",
    "load_images",
    "load_table",
    "prediction_frame",
    "read_features",
    "read_rows",
    "read_table",
]
