"""Pairs of texts: what goes in and what is to come out, whose length the model decides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from thalweg.core.kinds import check_name
from thalweg.core.signature import named_parameters
from thalweg.core.source import Source, Splits
from thalweg.data import PairEncoding, PairSource, holds_pairs, judged_pairs, names_splits, pair_splits
from thalweg.measure import tag_accuracy
from thalweg.measure.texts import bleu, chrf, edits, exact
from thalweg.recipes.data_kinds.kind import Concluded, DataKind, Outputs, Score
from thalweg.recipes.decoded import Decoding, Output, decoded
from thalweg.recipes.settings import Section, Settings
from thalweg.training.interval import draws_interval, resamples, wilson

NAMES = "names:"
"""What built-in names of the world begin with: names:de."""
EDITS = {True: ("word_error", "bleu", "chrf"), False: ("character_error", "chrf")}
"""Scores of targets that are words, and of those that are characters."""
TOKENS, NAMES_TOKENS = 4096, 1024
FEW = 10_000
"""Pairs of training below which a recurrent network is the default: it learns more from few."""
RECURRENT, TRANSFORMER = "rnn-seq2seq", "transformer"
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    RECURRENT: {"width": 128, "depth": 1, "dropout": 0.1},
    TRANSFORMER: {"width": 128, "depth": 3, "heads": 4, "dropout": 0.2},
}
FOR_FEW: Mapping[str, Mapping[str, Any]] = {RECURRENT: {"width": 96, "dropout": 0.3}}
RATES = {RECURRENT: 3e-3, TRANSFORMER: 1e-3}
UPDATES = {RECURRENT: 2500, TRANSFORMER: 3000}
"""So many updates at least, in 10 to 200 epochs."""
FEWEST_EPOCHS, MOST_EPOCHS = 10, 200


class Pairs(DataKind):
    """A table of two texts, two parallel files, a pronouncing dictionary, or names of the world."""

    name = "pairs"
    holds = "pairs of texts"
    plural = "pairs of texts"
    models = ("transformer", "rnn-seq2seq")
    decodes = True
    spelled: ClassVar[Mapping[str, str]] = {
        "test": "test_path",
        "validation": "validation_path",
        "split_seed": "seed",
        "vocabulary": "size",
    }

    def loaders(self) -> Sequence[Callable[..., Any]]:
        return (pair_splits,)

    def built_in(self, source: str) -> bool:
        return source.startswith(NAMES)

    def changed(self, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
        paths = {name: parameters[name].replace(annotation=str | list[str] | None) for name in ("validation", "test")}
        return paths | {
            "target": parameters["target"].replace(annotation=str | None),
            "tokens": parameters["tokens"].replace(default=TOKENS),
            "copying": named_parameters(names_splits)["copying"],
            "categories": named_parameters(names_splits)["categories"],
        }

    def recognizes(self, path: Path, options: Mapping[str, Any]) -> bool:
        if any(options.get(name) is not None for name in ("shared", "copying", "stress")):
            return True
        if any(options.get(name) is not None for name in ("features", "layout", "group", "time", "weights")):
            return False
        return holds_pairs(path, options.get("target"), options.get("text"), options.get("header"))

    def load(self, source: str | Path, arguments: dict[str, Any], settings: Settings) -> Splits:
        if isinstance(source, str) and self.built_in(source):
            for name in arguments:
                check_name(names_splits, name, f"[data] source = '{source}'", withheld=("locale",))
            return names_splits(source.removeprefix(NAMES), **({"tokens": NAMES_TOKENS} | arguments))
        copying = bool(arguments.get("copying"))
        return pair_splits(source, **({"tokens": TOKENS} | arguments | {"copying": copying}))

    def reads(self, encoding: Any) -> bool:
        return isinstance(encoding, PairEncoding)

    def from_json(self, plain: Mapping[str, Any]) -> Any:
        return PairEncoding.from_json(dict(plain))

    def defaults(self, settings: Settings, train: Any) -> dict[str, Section]:
        said = settings["model"].get("kind")
        few = len(train) < FEW
        model = said if isinstance(said, str) else RECURRENT if few else TRANSFORMER
        known = model if model in DEFAULTS else TRANSFORMER
        epochs = min(MOST_EPOCHS, max(FEWEST_EPOCHS, -(-UPDATES[known] // max(1, train.count_batches()))))
        return {
            "model": {"kind": model, **DEFAULTS.get(model, {}), **(FOR_FEW.get(model, {}) if few else {})},
            "objective": {"kind": "tagging", "label_smoothing": 0.1},
            "optimizer": {"kind": "adamw", "lr": RATES[known]},
            "schedule": {"kind": "warm_up", "length": 0.1, "then": "cosine"},
            "fit": {"epochs": epochs, "clip_norm": 1.0},
        }

    def outputs(self, encoding: Any) -> int:
        found: int = encoding.outputs
        return found

    def sizes(self, encoding: Any, outputs: int, model: str) -> dict[str, Any]:
        return {"vocabulary": len(encoding.source), "copying": encoding.schema.copying}

    def likelihood(self, encoding: Any) -> str:
        return "tagging"

    def metrics(self, encoding: Any) -> dict[str, Any]:
        return {"accuracy": tag_accuracy}

    def fitting(self, encoding: Any) -> tuple[str, ...]:
        return ("accuracy",)

    def measured(self, metrics: Mapping[str, Any], encoding: Any) -> dict[str, Any]:
        return {name: self.metrics(encoding)[name] for name in metrics}

    def weights(self, encoding: Any) -> str | None:
        return None

    def target(self, encoding: Any) -> tuple[str, str]:
        return encoding.schema.names[1], "texts"

    def classifies(self, encoding: Any) -> bool:
        return False

    def has_probabilities(self, encoding: Any) -> bool:
        return False

    def opened(self, file: str, encoding: Any) -> Any:
        return file if file == "-" else Path(file)

    def predicted(self, data: Any, encoding: Any, outputs: Outputs, **shown: Any) -> pd.DataFrame:
        source = judged_pairs(data, encoding, labelled=False)
        return _frame(source, decoded(outputs.model, source, shown.get("decoding"), outputs.device))

    def judged(self, file: str, encoding: Any) -> Source:
        return judged_pairs(self.opened(file, encoding), encoding)

    def judge(self, source: Any, outputs: Outputs) -> Concluded:
        return Translated(source, outputs)

    def score_names(self, encoding: Any) -> tuple[str, ...]:
        return ("exact_match", *EDITS[_in_words(encoding)])


@dataclass(frozen=True)
class Translated(Concluded):
    """A split of pairs beside what the model puts out for its sources, decoded once."""

    source: PairSource
    outputs: Outputs

    @cached_property
    def texts(self) -> list[list[Output]]:
        """The best output of each source, by a beam of five."""
        return decoded(self.outputs.model, self.source, Decoding(), self.outputs.device)

    def frame(self) -> pd.DataFrame:
        return _frame(self.source, self.texts)

    def scores(self) -> dict[str, Score]:
        """The share that is exactly right, the edit rate and scores of all texts, against every known target."""
        formed, words = self.source.encoding.formed, _in_words(self.source.encoding)
        texts = [formed(several[0].text) for several in self.texts]
        wanted = [[formed(text) for text in several] for several in self.source.references(range(len(self.source)))]
        right = exact(texts, wanted)
        rate = _edit_rate(texts, wanted, "words" if words else "characters")
        corpus = [score(texts, wanted)[:3] for score in ((bleu, chrf) if words else (chrf,))]
        found = [rate, *corpus]
        return {"exact_match": wilson(int(right.sum()), len(right)), **dict(zip(EDITS[words], found, strict=True))}


def _in_words(encoding: PairEncoding) -> bool:
    """Whether targets are sequences of words, and not of characters."""
    return encoding.schema.unit[1] != "characters"


def _edit_rate(texts: Sequence[str], wanted: Sequence[Sequence[str]], unit: str) -> Score:
    """The edit rate and its interval, by resamples of the sources."""
    found = edits(texts, wanted, unit)
    distance, length = found.distance.astype(float), found.length.astype(float)
    draws = [float(distance[ids].sum() / max(length[ids].sum(), 1)) for ids in resamples(len(distance))]
    return (found.rate, *draws_interval(draws))


def _frame(source: PairSource, outputs: Sequence[Sequence[Output]]) -> pd.DataFrame:
    """The pairs with `prediction` and `score` beside them, a row for each output."""
    counts = [len(several) for several in outputs]
    rows = source.rows.iloc[np.repeat(np.arange(len(counts)), counts)]
    flat = [output for several in outputs for output in several]
    return rows.assign(prediction=[one.text for one in flat], score=[one.score for one in flat])
