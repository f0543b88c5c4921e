"""A kind of data: all that a recipe in settings has to know of tables, images, texts, tags, recordings or graphs.

Each kind is one object: how it is recognized, which keys of [data] it has, how it is loaded, trained by default, judged
and predicted. What reads settings asks the kind and never which kind it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from thalweg.core.errors import RecipeError
from thalweg.core.nest import Nest, to_device
from thalweg.core.objective import apply, is_objective
from thalweg.core.signature import named_parameters
from thalweg.core.source import Source, Splits
from thalweg.data import TargetKind, prediction_frame
from thalweg.data.places import listed
from thalweg.loss import WeightedLoss
from thalweg.measure.metrics import METRICS as MEASURES
from thalweg.measure.resampling import Through, column, unweighted
from thalweg.recipes.pieces import MODELS
from thalweg.recipes.settings import Section, Settings

if TYPE_CHECKING:
    from pandas import DataFrame

Score = tuple[float, float, float]
"""A value and the ends of its interval."""


@dataclass(frozen=True)
class Outputs:
    """What a trained model, in evaluation mode on a device, says of batches of inputs, on the CPU.

    `guided` says that its attention was guided in training.
    """

    model: nn.Module
    device: torch.device
    guided: bool = False

    def __call__(self, batches: Iterable[Nest]) -> list[Tensor]:
        """The outputs of each batch."""
        with torch.no_grad():
            return [apply(self.model, to_device(batch, self.device)).cpu() for batch in batches]


class Concluded(ABC):
    """A split beside what a model says of it."""

    @abstractmethod
    def frame(self) -> "DataFrame":
        """Its rows with predictions beside them."""

    def scores(self) -> dict[str, Score]:
        """Scores that are no metrics of outputs, by name, as `DataKind.score_names` says them beforehand."""
        return {}

    def shown(self) -> dict[str, Any] | None:
        """What decoding.json holds for the report; None of a kind whose outputs are not searched for."""
        return None


@dataclass(frozen=True)
class Guessed(Concluded):
    """A split beside a model's outputs for its examples."""

    kind: "DataKind"
    source: Any
    outputs: Outputs

    def frame(self) -> "DataFrame":
        return self.kind.frame(self.source, self.outputs(x for x, _ in self.source.batches(0, 0, None)))


OBJECTIVE = {TargetKind.CLASSES: "categorical", TargetKind.SOFT: "categorical", TargetKind.NUMBERS: "gaussian"}
METRICS = {
    TargetKind.CLASSES: ("accuracy", "balanced_accuracy", "f1", "auc"),
    TargetKind.SOFT: ("accuracy",),
    TargetKind.NUMBERS: ("mae", "rmse", "r2"),
}
"""For each kind of target its likelihood, and the metrics beside it."""
MOST_TOLD_APART = 10
"""So many numbers to predict have metrics of their own."""
OTHERWISE = (
    *(".xlsx", ".xls", ".ods", ".parquet", ".feather", ".json", ".jsonl", ".ndjson", ".html", ".pdf", ".docx"),
    *(".gz", ".zip", ".bz2", ".xz", ".zst", ".db", ".sqlite", ".pkl", ".npy", ".npz"),
)
"""Endings that promise what is not written."""


def check_ending(output: Path | None) -> None:
    """Refuse a file for predictions whose name promises another format than text.

    >>> check_ending(Path("out.xlsx"))
    Traceback (most recent call last):
    thalweg.core.errors.RecipeError: --output out.xlsx: predictions are written as text, and .xlsx means something else.
    Call it out.csv (a table, which spreadsheets open), .tsv, or of pairs .txt (a line for each source).
    """
    if output is not None and output.suffix.lower() in OTHERWISE:
        raise RecipeError(
            f"--output {output}: predictions are written as text, and {output.suffix} means something else. Call it "
            f"{output.with_suffix('.csv').name} (a table, which spreadsheets open), .tsv, or of pairs .txt (a line for "
            "each source)."
        )


class DataKind(ABC):
    """One kind of data; `known.py` lists them.

    `holds` is what a source of the kind holds ("a table"), `plural` what its keys are for ("tables"); `models` are the
    built-in networks that read it, the first by default; `named` are its built-in data; `decodes` says that outputs are
    sequences, which are searched for, and `of_lines` that sources are lines of text; `spelled` are the keys of [data]
    that the loader calls otherwise; `augmentation` makes what [augmentation] says, None where nothing does.
    """

    name: ClassVar[str]
    holds: ClassVar[str]
    plural: ClassVar[str]
    models: ClassVar[tuple[str, ...]]
    named: ClassVar[tuple[str, ...]] = ()
    decodes: ClassVar[bool] = False
    of_lines: ClassVar[bool] = False
    spelled: ClassVar[Mapping[str, str]] = {"test": "test_path", "split_seed": "seed"}

    @abstractmethod
    def loaders(self) -> Sequence[Callable[..., Any]]:
        """The functions whose arguments are the keys of [data]; the first is given the source."""

    @abstractmethod
    def recognizes(self, path: Path, options: Mapping[str, Any]) -> bool:
        """Whether a path, read as the keys of [data] say, holds this kind."""

    @abstractmethod
    def load(self, source: str | Path, arguments: dict[str, Any], settings: Settings) -> Splits:
        """The splits, of built-in data or a path; `arguments` are those of the loader."""

    @abstractmethod
    def reads(self, encoding: Any) -> bool:
        """Whether an encoding is of this kind."""

    @abstractmethod
    def from_json(self, plain: Mapping[str, Any]) -> Any:
        """The encoding that preprocessing.json holds."""

    @abstractmethod
    def defaults(self, settings: Settings, train: Any) -> dict[str, Section]:
        """What sections say where the settings do not, by the training examples."""

    @abstractmethod
    def sizes(self, encoding: Any, outputs: int, model: str) -> dict[str, Any]:
        """What the data decide of a model of a built-in kind, beside its outputs."""

    @abstractmethod
    def opened(self, file: str, encoding: Any) -> Any:
        """What `predicted` is given for a file that the command line names."""

    def opened_together(self, files: Sequence[str], encoding: Any) -> Any:
        """The same for several files.

        Raises `RecipeError` where each is a whole.
        """
        raise RecipeError(
            f"This run reads {self.plural}, one file at a time, but {len(files)} are given: "
            f"{listed(list(files), 3)}. Predict each by itself: thalweg predict RUN {files[0]}."
        )

    @abstractmethod
    def predicted(self, data: Any, encoding: Any, outputs: Outputs, **shown: Any) -> "DataFrame":
        """Rows with predictions beside them; `shown` is said to `prediction_frame`."""

    @abstractmethod
    def judged(self, file: str, encoding: Any) -> Source:
        """The examples of a file that holds targets too."""

    def judged_beside(self, file: str, target: str, encoding: Any) -> Source:
        """The examples of a file whose targets are the lines of a second one.

        Raises `RecipeError` where targets have no file of their own.
        """
        raise RecipeError(
            f"This run reads {self.plural}, whose targets stand with what they belong to. Leave --target {target} out: "
            "only pairs of texts may have them in a file of their own."
        )

    def parameters(self) -> dict[str, Parameter]:
        """The keys of [data]: the arguments of the loaders, some by plainer names."""
        plain = {argument: key for key, argument in self.spelled.items()}
        first, *others = map(named_parameters, self.loaders())
        source = next(iter(first))
        own = {**{plain.get(name, name): parameter for name, parameter in first.items() if name != source}}
        for each in others:
            own |= {plain.get(name, name): parameter for name, parameter in each.items()}
        return {"source": first[source].replace(annotation=str, default=Parameter.empty), **own} | self.changed(own)

    def changed(self, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
        """Keys whose kind or default differs from the loader's."""
        return {"test": parameters["test"].replace(annotation=str | None)} if "test" in parameters else {}

    def augmentation(self) -> Callable[..., Any] | None:
        """What the keys of [augmentation] make."""
        return None

    def altered(self, train: Any, chosen: Any, copies: int) -> Any:
        """The train split as [augmentation] changes it: where `augmentation` makes nothing, as it is."""
        return train

    def likelihood(self, encoding: Any) -> str:
        """The objective that is due."""
        return OBJECTIVE[encoding.schema.target.kind]

    def metrics(self, encoding: Any) -> dict[str, Any]:
        """The metrics that are taken where none are named; `fitting` says which may be."""
        return {name: MEASURES[name] for name in METRICS[encoding.schema.target.kind]}

    def fitting(self, encoding: Any) -> tuple[str, ...]:
        """The names of metrics that read such outputs."""
        numbers = encoding.schema.target.kind is TargetKind.NUMBERS
        return METRICS[TargetKind.NUMBERS if numbers else TargetKind.CLASSES]

    def weights(self, encoding: Any) -> str | None:
        """The column that says what an example counts."""
        weights: str | None = encoding.schema.weights
        return weights

    def objective(self, likelihood: nn.Module, encoding: Any) -> nn.Module:
        """The likelihood as it reads this kind's batches."""
        return likelihood if self.weights(encoding) is None else WeightedLoss(likelihood)

    def measured(self, metrics: Mapping[str, Any], encoding: Any) -> dict[str, Any]:
        """Metrics on these targets; of a few numbers also of each, `mae_price`, for their mean mixes units.

        Every example counts alike, also where the loss has weights.
        """
        named, names = dict(metrics), encoding.schema.target.names
        if encoding.schema.target.kind is TargetKind.NUMBERS and 1 < len(names) <= MOST_TOLD_APART:
            for key, metric in metrics.items():
                named |= {
                    f"{key}_{name}": Through(metric, partial(column, place=place)) for place, name in enumerate(names)
                }
        weighted = self.weights(encoding) is not None
        return {
            key: Through(metric, unweighted) if weighted and not is_objective(metric) else metric
            for key, metric in named.items()
        }

    def class_numbers(self, source: Any) -> Tensor:
        """The class numbers of all examples of a source, one behind the other."""
        targets = [y[0] if isinstance(y, tuple) else y for _, y in source.batches(0, 0, None)]
        return torch.cat(targets)

    def scored(self, source: Any, outputs: list[Tensor]) -> Tensor:
        """The outputs that go with `class_numbers`, of those of a source's batches in its own order."""
        return torch.cat(outputs)

    def built_in(self, source: str) -> bool:
        """Whether a source is the name of built-in data of this kind, and no path."""
        return source in self.named

    def outputs(self, encoding: Any) -> int:
        """How many outputs a built-in network has."""
        outputs: int = encoding.schema.target.outputs
        return outputs

    def target(self, encoding: Any) -> tuple[str, str]:
        """What the target is called, and what it holds."""
        target = encoding.schema.target
        return ", ".join(target.names), str(target.kind)

    def classifies(self, encoding: Any) -> bool:
        """Whether outputs are scores of classes, which have probabilities that can be calibrated."""
        return bool(encoding.schema.target.kind is TargetKind.CLASSES)

    def has_probabilities(self, encoding: Any) -> bool:
        """Whether predictions come with a probability."""
        return bool(encoding.schema.target.kind is not TargetKind.NUMBERS)

    def judge(self, source: Any, outputs: Outputs) -> Concluded:
        """A split beside what a model says of it."""
        return Guessed(self, source, outputs)

    def score_names(self, encoding: Any) -> tuple[str, ...]:
        """The names of the scores of `judge`, beside the loss and the metrics."""
        return ()

    def frame(self, source: Any, outputs: list[Tensor], **shown: Any) -> "DataFrame":
        """A split's own rows with predictions beside them."""
        return prediction_frame(source.rows, source.encoding, torch.cat(outputs), **shown)

    def writer(self, rows: Any, encoding: Any, output: Path | None, all_probabilities: bool) -> Callable[[Any], bytes]:
        """What turns the frame of predictions on `rows`, as `opened` gave them, into the bytes of a file: CSV, with
        tabs where it is called so. Raises `RecipeError` for a file whose name promises another format.
        """
        check_ending(output)
        between = "\t" if output is not None and output.suffix.lower() in (".tsv", ".tab") else ","
        return lambda frame: frame.to_csv(index=False, sep=between).encode()

    def check_model(self, settings: Settings, encoding: Any) -> None:
        """Refuse a built-in network that cannot read such data.

        Raises `RecipeError` naming file and line.
        """
        kind = settings["model"].get("kind")
        if kind in MODELS and kind not in self.models:
            raise RecipeError(
                f"{settings.place('model', 'kind')}the model '{kind}' does not read {self.plural}. Give one of "
                f'{", ".join(self.models)}, or your own: kind = "mypackage.nets:Net".'
            )
