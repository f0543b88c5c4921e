"""Recipes from names and files, and runs read back from their folders: where data, networks and training meet."""

from thalweg.recipes.conclusion import Conclusion, conclude
from thalweg.recipes.exposure import ExposureBias, exposure_bias
from thalweg.recipes.express import as_toml, expressed, is_sayable
from thalweg.recipes.predict import predict
from thalweg.recipes.restore import load_run
from thalweg.recipes.resume import resume
from thalweg.recipes.subject import load

__all__ = [
    "Conclusion",
    "ExposureBias",
    "as_toml",
    "conclude",
    "exposure_bias",
    "expressed",
    "is_sayable",
    "load",
    "load_run",
    "predict",
    "resume",
]
