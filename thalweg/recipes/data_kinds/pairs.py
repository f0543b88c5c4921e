"""Pairs of texts: what goes in and what is to come out, whose length the model decides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from torch import nn

from thalweg.core.errors import DataError, RecipeError
from thalweg.core.kinds import check_name
from thalweg.core.signature import named_parameters
from thalweg.core.source import Source, Splits
from thalweg.data import (
    PairEncoding,
    PairSource,
    SpeechEncoding,
    SpeechSource,
    holds_pairs,
    judged_pairs,
    names_splits,
    pair_splits,
)
from thalweg.data.pair_reading import is_file
from thalweg.data.places import where
from thalweg.data.sniffing import beginning
from thalweg.data.word_hashing import PLACES
from thalweg.loss import ScheduledSampling
from thalweg.measure import tag_accuracy
from thalweg.measure.texts import CorpusScore, bleu, chrf, edits, exact
from thalweg.recipes.alignment_shown import is_in_order
from thalweg.recipes.data_kinds.kind import Concluded, DataKind, Outputs, Score
from thalweg.recipes.decoded import Decoding, Output, decoded
from thalweg.recipes.decoding_shown import decoding_shown
from thalweg.recipes.output_forms import FORM_SCORES, brackets_of, form_scores, labels_of
from thalweg.recipes.settings import Section, Settings
from thalweg.training.interval import ratio_interval, wilson

NAMES = "names:"
"""What built-in names of the world begin with: names:de."""
EDITS = {True: ("word_error", "bleu", "chrf"), False: ("character_error", "chrf")}
"""Scores of targets that are words, and of those that are characters."""
TOKENS, NAMES_TOKENS, MOST_TOKENS = 4096, 1024, 10_000
"""Positions of a batch, those of a batch of names, and tokens of a text beyond which it is none that a model is trained
on.
"""
FEW = 10_000
"""Pairs of training below which a recurrent network is the default: it learns more from few."""
RECURRENT, TRANSFORMER = "rnn-seq2seq", "transformer"
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    RECURRENT: {"width": 128, "depth": 1, "dropout": 0.1},
    TRANSFORMER: {"width": 128, "depth": 3, "heads": 4, "dropout": 0.2},
}
FOR_FEW: Mapping[str, Mapping[str, Any]] = {RECURRENT: {"width": 96, "dropout": 0.3}}
FOR_TREES: Mapping[str, Any] = {"kind": RECURRENT, "width": 128, "depth": 1, "dropout": 0.3}
"""Of trees, however many: a recurrent decoder is given where it stands in its source."""
WORD_DROPOUT = 0.1
"""The share of words that only their letters are known of, in training."""
RATES = {RECURRENT: (3e-3, 3e-4), TRANSFORMER: (1e-3, 1e-4)}
"""Learning rates: of a training that begins with nothing, and of one for a reward, which goes on."""
UPDATES = {RECURRENT: 2500, TRANSFORMER: 3000}
TREE_UPDATES = 3000
"""So many updates at least, in 10 to 200 epochs; of trees by a recurrent network more."""
FEWEST_EPOCHS, MOST_EPOCHS = 10, 200
REWARDED_UPDATES, REWARDED_EPOCHS = 500, 2
"""The same of a training for a reward, which goes on from one that has ended."""


class Pairs(DataKind):
    """A table of two texts, two parallel files, a pronouncing dictionary, or names of the world."""

    name = "pairs"
    holds = "pairs of texts"
    plural = "pairs of texts"
    models: ClassVar[tuple[str, ...]] = ("transformer", "rnn-seq2seq")
    decodes = True
    of_lines: ClassVar[bool] = True
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
            "target": parameters["target"].replace(annotation=str | int | None),
            "tokens": parameters["tokens"].replace(default=TOKENS),
            "copying": named_parameters(names_splits)["copying"],
            "categories": named_parameters(names_splits)["categories"],
        }

    def recognizes(self, path: Path, options: Mapping[str, Any]) -> bool:
        if any(options.get(name) is not None for name in ("shared", "copying", "stress", "output", "letters")):
            return True
        if any(options.get(name) is not None for name in ("features", "layout", "group", "time", "weights")):
            return False
        if _means_a_file(options.get("target"), path):
            return True  # whoever reads pairs says which file there is not
        return holds_pairs(path, options.get("target"), options.get("text"), options.get("header"))

    def load(self, source: str | Path, arguments: dict[str, Any], settings: Settings) -> Splits:
        if isinstance(source, str) and self.built_in(source):
            for name in arguments:
                check_name(names_splits, name, f"[data] source = '{source}'", withheld=("locale",))
            return names_splits(source.removeprefix(NAMES), **({"tokens": NAMES_TOKENS} | arguments))
        copying = bool(arguments.get("copying"))
        splits = pair_splits(source, **({"tokens": TOKENS} | arguments | {"copying": copying}))
        for name in ("train", "validation", "test"):
            if isinstance(split := getattr(splits, name), PairSource):
                check_lengths(split, name)
        return splits

    def reads(self, encoding: Any) -> bool:
        return isinstance(encoding, PairEncoding)

    def from_json(self, plain: Mapping[str, Any]) -> Any:
        return PairEncoding.from_json(dict(plain))

    def defaults(self, settings: Settings, train: Any) -> dict[str, Section]:
        said = settings["model"].get("kind")
        few, trees = len(train) < FEW, train.encoding.schema.output == "tree"
        model = said if isinstance(said, str) else RECURRENT if few or trees else TRANSFORMER
        known = model if model in DEFAULTS else TRANSFORMER
        own = {"kind": model, **DEFAULTS.get(model, {}), **(FOR_FEW.get(model, {}) if few else {})}
        if trees and model == RECURRENT:
            own |= FOR_TREES
        if train.encoding.schema.letters and known == model:
            own["word_dropout"] = WORD_DROPOUT
        updates = TREE_UPDATES if trees and known == RECURRENT else UPDATES[known]
        return {"model": own, **training_of(settings, train, RATES[known], updates)}

    def outputs(self, encoding: Any) -> int:
        found: int = encoding.outputs
        return found

    def sizes(self, encoding: Any, outputs: int, model: str) -> dict[str, Any]:
        found = {"vocabulary": len(encoding.source), "copying": encoding.schema.copying}
        if encoding.schema.letters:
            found["places"] = PLACES
        return found if (tokens := brackets_of(encoding)) is None else found | {"brackets": tokens}

    def likelihood(self, encoding: Any) -> str:
        return "tagging"

    def objective(self, likelihood: nn.Module, encoding: Any) -> nn.Module:
        """Wrong and own inputs of trees are other labels of brackets, so that whatever is fed begins a tree."""
        if encoding.schema.output != "tree" or not isinstance(likelihood, ScheduledSampling):
            return super().objective(likelihood, encoding)
        return ScheduledSampling(likelihood.loss, **likelihood.said(), among=labels_of(encoding))

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

    def opened_together(self, files: Sequence[str], encoding: Any) -> Any:
        raise RecipeError(
            f"This run reads lines of text, of one file or the standard input, but {len(files)} files are given. Join "
            f"them: cat {' '.join(files[:3])}{' ...' * (len(files) > 3)} | thalweg predict RUN -."
        )

    def predicted(self, data: Any, encoding: Any, outputs: Outputs, **shown: Any) -> pd.DataFrame:
        source = judged_pairs(data, encoding, labelled=False)
        return output_frame(source, decoded(outputs.model, source, shown.get("decoding"), outputs.device))

    def judged(self, file: str, encoding: Any) -> Source:
        return judged_pairs(self.opened(file, encoding), encoding)

    def judged_beside(self, file: str, target: str, encoding: Any) -> Source:
        return judged_pairs([self.opened(file, encoding), Path(target)], encoding)

    def judge(self, source: Any, outputs: Outputs) -> Concluded:
        return Translated(source, outputs)

    def score_names(self, encoding: Any) -> tuple[str, ...]:
        return ("exact_match", *FORM_SCORES.get(encoding.schema.output, EDITS[_in_words(encoding)]))


@dataclass(frozen=True)
class Translated(Concluded):
    """A split of pairs beside what the model puts out for its sources, decoded once."""

    source: PairSource | SpeechSource
    outputs: Outputs

    @cached_property
    def texts(self) -> list[list[Output]]:
        """The best output of each source, by a beam of five."""
        return decoded(self.outputs.model, self.source, Decoding(), self.outputs.device)

    def frame(self) -> pd.DataFrame:
        return output_frame(self.source, self.texts)

    @cached_property
    def compared(self) -> tuple[list[str], list[list[str]]]:
        """The best output of each source and all targets that it has, both in the form of outputs."""
        formed = self.source.encoding.formed
        return [formed(several[0].text) for several in self.texts], self.source.formed_references()

    @cached_property
    def counted(self) -> tuple[list[str], list[list[str]]]:
        """The same of each source once, however many targets it has: its pairs share one output."""
        places = _distinct(self.source.sources)
        outputs, wanted = self.compared
        return [outputs[place] for place in places], [wanted[place] for place in places]

    @cached_property
    def corpus(self) -> dict[str, CorpusScore]:
        """BLEU, where targets are words, and chrF; nothing of trees and sets."""
        if self.source.schema.output != "text":
            return {}
        measures = {"bleu": bleu, "chrf": chrf} if self.unit == "words" else {"chrf": chrf}
        return {name: measure(*self.counted) for name, measure in measures.items()}

    @property
    def unit(self) -> str:
        """What edits count."""
        return "words" if _in_words(self.source.encoding) else "characters"

    def scores(self) -> dict[str, Score]:
        """The share that is exactly right, the edit rate and scores of all texts, against every known target; of trees
        and sets their own scores.
        """
        if isinstance(self.source, PairSource) and self.source.schema.output != "text":
            places = _distinct(self.source.sources)
            return form_scores([self.texts[place][0].text for place in places], self.source, places)
        right = exact(*self.counted)
        found = [edit_rate(*self.counted, self.unit), *(score[:3] for score in self.corpus.values())]
        names = EDITS[self.unit == "words"]
        return {"exact_match": wilson(int(right.sum()), len(right)), **dict(zip(names, found, strict=True))}

    def shown(self) -> dict[str, Any]:
        kept = {"form": self.source.schema.output}
        return kept | {"signatures": {name: score.signature for name, score in self.corpus.items()}} | self.looked()

    def looked(self) -> dict[str, Any]:
        """The same without what says how BLEU and chrF are computed."""
        model, device = self.outputs.model, self.outputs.device
        in_order = is_in_order(model, self.source, self.outputs.guided)
        return decoding_shown(model, self.source, self.compared, device, self.unit, in_order)


def training_of(settings: Settings, train: Any, rates: tuple[float, float], updates: int) -> dict[str, Section]:
    """How a model that puts out texts is trained: so many updates at least, or fewer for a reward; `rates` of both."""
    rewarded = settings["objective"].get("reward") is not None
    updates, fewest = (REWARDED_UPDATES, REWARDED_EPOCHS) if rewarded else (updates, FEWEST_EPOCHS)
    epochs = min(MOST_EPOCHS, max(fewest, -(-updates // max(1, train.count_batches()))))
    return {
        "objective": {"kind": "tagging", "label_smoothing": 0.1},
        "optimizer": {"kind": "adamw", "lr": rates[rewarded]},
        "schedule": {"kind": "warm_up", "length": 0.1, "then": "cosine"},
        "fit": {"epochs": epochs, "clip_norm": 1.0},
    }


def check_lengths(split: PairSource, name: str) -> None:
    """Refuse pairs that no model would be done with.

    >>> import thalweg.data
    >>> frame = pd.DataFrame({"source": ["ab" * 6000], "target": ["b"]}, index=pd.Index([3], name="line"))
    >>> check_lengths(PairSource.unfitted(frame, thalweg.data.PairSchema()).fit([0]), "train")
    Traceback (most recent call last):
    thalweg.core.errors.DataError: 1 pair of the train split has a text of more than 10,000 tokens (line 3), up to
    12,000. Attention takes the square of that, hours and all memory. Say data.longest=2000 to cut texts off after so
    many tokens, or take such pairs out.

    Raises `DataError`.
    """
    long = split.lengths.max(1) > MOST_TOKENS
    if long.any():
        have = "pair of the {} split has" if long.sum() == 1 else "pairs of the {} split have"
        raise DataError(
            f"{long.sum():,} {have.format(name)} a text of more than {MOST_TOKENS:,} tokens "
            f"({where(split.rows.index, long, 3)}), up to {split.lengths.max():,}. Attention takes the square of that, "
            "hours and all memory. Say data.longest=2000 to cut texts off after so many tokens, or take such pairs out."
        )


def _means_a_file(target: Any, path: Path) -> bool:
    """Whether a name that stands nowhere in the beginning of a file, and that no file has, looks like that of one."""
    if not isinstance(target, str) or is_file(target) or not 1 < len(Path(target).suffix) < 6:
        return False
    first = beginning(path)
    return first is not None and target not in first


def _distinct(sources: Sequence[str]) -> list[int]:
    """The place at which each source stands first."""
    first: dict[str, int] = {}
    for place, source in enumerate(sources):
        first.setdefault(source, place)
    return list(first.values())


def _in_words(encoding: PairEncoding | SpeechEncoding) -> bool:
    """Whether targets are sequences of words, and not of characters."""
    return encoding.target.unit != "characters"


def edit_rate(texts: Sequence[str], wanted: Sequence[Sequence[str]], unit: str) -> Score:
    """The edit rate and its interval, by resamples of the sources."""
    found = edits(texts, wanted, unit)
    return ratio_interval(found.distance, found.length)


def output_frame(source: PairSource | SpeechSource, outputs: Sequence[Sequence[Output]]) -> pd.DataFrame:
    """The pairs with `prediction` and `score` beside them, a row for each output."""
    counts = [len(several) for several in outputs]
    rows = source.rows.iloc[np.repeat(np.arange(len(counts)), counts)]
    flat = [output for several in outputs for output in several]
    return rows.assign(prediction=[one.text for one in flat], score=[one.score for one in flat])
