"""Data that come with scikit-learn, as tables with names one can read."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd

from thalweg.core.errors import DataError, did_you_mean

BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
"""What `bundled` knows; reading this does not import scikit-learn."""

DIABETES = ("age", "sex", "bmi", "blood_pressure", "total_cholesterol", "ldl", "hdl", "cholesterol_ratio")
CULTIVARS = ("barolo", "grignolino", "barbera")


class Bundled(NamedTuple):
    """A table, the column to predict, the task, and the shape of an image that the other columns hold, or None."""

    frame: pd.DataFrame
    target: str
    task: str
    layout: tuple[int, int, int] | None = None


def bundled(name: str) -> Bundled:
    """A bundled table by its name.

    >>> bundled("iris").frame.columns.tolist()
    ['sepal_length_cm', 'sepal_width_cm', 'petal_length_cm', 'petal_width_cm', 'species']
    >>> bundled("digits").layout
    (1, 8, 8)

    Raises `DataError` for an unknown name (did you mean).
    """
    if name not in BUNDLED:
        raise DataError(f"There are no bundled data '{name}'.{did_you_mean(name, BUNDLED)}")
    return LOADERS[name]()


def _digits() -> Bundled:
    from sklearn.datasets import load_digits

    data = load_digits()
    names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    return Bundled(_frame(data.data.astype(int), names, "digit", data.target), "digit", "classification", (1, 8, 8))


def _iris() -> Bundled:
    from sklearn.datasets import load_iris

    data = load_iris()
    names = [name.replace(" (cm)", "_cm").replace(" ", "_") for name in data.feature_names]
    return Bundled(_frame(data.data, names, "species", data.target_names[data.target]), "species", "classification")


def _wine() -> Bundled:
    from sklearn.datasets import load_wine

    data = load_wine()
    names = [name.replace("od280/od315_of_diluted_wines", "od280_od315") for name in data.feature_names]
    labels = [CULTIVARS[i] for i in data.target]
    return Bundled(_frame(data.data, names, "cultivar", labels), "cultivar", "classification")


def _breast_cancer() -> Bundled:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = [name.replace(" ", "_") for name in data.feature_names]
    labels = data.target_names[data.target]
    return Bundled(_frame(data.data, names, "diagnosis", labels), "diagnosis", "classification")


def _diabetes() -> Bundled:
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    names = [*DIABETES, "log_triglycerides", "glucose"]
    return Bundled(_frame(data.data, names, "progression", data.target), "progression", "regression")


def _frame(values: Any, names: list[str], target: str, labels: Any) -> pd.DataFrame:
    frame = pd.DataFrame(values, columns=names)
    frame[target] = [str(label) for label in labels] if isinstance(labels[0], str) else labels
    return frame


LOADERS: dict[str, Callable[[], Bundled]] = {
    "breast_cancer": _breast_cancer,
    "diabetes": _diabetes,
    "digits": _digits,
    "iris": _iris,
    "wine": _wine,
}
