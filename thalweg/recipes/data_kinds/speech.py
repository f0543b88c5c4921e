"""Speech: recordings in, and what is said in them out, in the same or another language."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from thalweg.core.errors import RecipeError
from thalweg.core.notices import unsaid
from thalweg.core.source import Source, Splits
from thalweg.data import (
    AudioOptions,
    Masked,
    SpecAugment,
    SpeechEncoding,
    SpeechSource,
    holds_speech,
    judged_speech,
    speech_splits,
)
from thalweg.data.speech_loading import listed_sounds
from thalweg.data.speech_manifest import SAID
from thalweg.measure.texts import exact
from thalweg.recipes.data_kinds.kind import Concluded, Outputs, Score, check_ending
from thalweg.recipes.data_kinds.pairs import Pairs, Translated, edit_rate, output_frame, training_of
from thalweg.recipes.decoded import decoded
from thalweg.recipes.settings import Section, Settings
from thalweg.training.interval import wilson

TOKENS = 8192
"""Frames and tokens of a batch."""
MODEL: Mapping[str, Any] = {"kind": "rnn-seq2seq", "width": 128, "attention": "location", "stack": 4, "dropout": 0.2}
RATES, UPDATES = (3e-3, 3e-4), 2500
"""Learning rates of the likelihood and of a reward, and the fewest updates of the former."""
OF_TEXTS = ("unit", "vocabulary", "fewest", "lower")
"""Keys of [data] that say that a target is text."""
TABLES = (".csv", ".tsv", ".tab")
"""Endings of an output that is a table."""
SCORES = ("exact_match", "word_error", "character_error")


class Speech(Pairs):
    """A table of recordings and their transcripts."""

    name = "speech"
    of_lines: ClassVar[bool] = False
    holds = "recordings and what they say"
    plural = "speech"
    models: ClassVar[tuple[str, ...]] = ("rnn-seq2seq",)
    spelled: ClassVar[Mapping[str, str]] = {"split_seed": "seed", "vocabulary": "size"}

    def loaders(self) -> Sequence[Callable[..., Any]]:
        return (speech_splits, AudioOptions)

    def built_in(self, source: str) -> bool:
        return False

    def changed(self, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
        return {"tokens": parameters["tokens"].replace(default=TOKENS)}

    def recognizes(self, path: Path, options: Mapping[str, Any]) -> bool:
        target = options.get("target")
        if options.get("pattern") is not None or not isinstance(target, str | int | None):
            return False
        task = options.get("task")
        said = task == SAID or any(options.get(key) is not None for key in OF_TEXTS)
        return task in (None, SAID) and holds_speech(path, target, options.get("header", True), said)

    def load(self, source: str | Path, arguments: dict[str, Any], settings: Settings) -> Splits:
        return speech_splits(source, **({"tokens": TOKENS} | arguments))

    def reads(self, encoding: Any) -> bool:
        return isinstance(encoding, SpeechEncoding)

    def from_json(self, plain: Mapping[str, Any]) -> Any:
        return SpeechEncoding.from_json(dict(plain))

    def defaults(self, settings: Settings, train: Any) -> dict[str, Section]:
        return {"model": dict(MODEL), **training_of(settings, train, RATES, UPDATES)}

    def sizes(self, encoding: Any, outputs: int, model: str) -> dict[str, Any]:
        return {"inputs": encoding.schema.mel.count}

    def augmentation(self) -> Callable[..., Any]:
        return SpecAugment

    def altered(self, train: Any, chosen: Any, copies: int) -> Any:
        return Masked(train, chosen)

    def opened(self, file: str, encoding: Any) -> Any:
        return Path(file)

    def opened_together(self, files: Sequence[str], encoding: Any) -> Any:
        return list(map(Path, files))

    def predicted(self, data: Any, encoding: Any, outputs: Outputs, **shown: Any) -> pd.DataFrame:
        source = judged_speech(data, encoding, labelled=False)
        return output_frame(source, decoded(outputs.model, source, shown.get("decoding"), outputs.device))

    def writer(self, rows: Any, encoding: Any, output: Path | None, all_probabilities: bool) -> Callable[[Any], bytes]:
        """CSV, or into a file that is not called like a table a line for each recording, in their order."""
        if output is None or output.suffix.lower() in TABLES:
            return super().writer(rows, encoding, output, all_probabilities)
        check_ending(output)
        with unsaid():
            listed = listed_sounds(rows, encoding.schema)
        return lambda frame: "".join(f"{line}\n" for line in in_step(frame, listed, encoding.schema.names[0])).encode()

    def judged(self, file: str, encoding: Any) -> Source:
        return judged_speech(file, encoding)

    def judged_beside(self, file: str, target: str, encoding: Any) -> Source:
        raise RecipeError(
            f"This run reads {self.plural}, which one table holds. Leave --target {target} out, and give the table."
        )

    def judge(self, source: Any, outputs: Outputs) -> Concluded:
        return Transcribed(source, outputs)

    def score_names(self, encoding: Any) -> tuple[str, ...]:
        return SCORES


def in_step(frame: pd.DataFrame, listed: Sequence[str], column: str) -> list[str]:
    """What was heard in each recording that is listed; an empty line where it could not be read.

    >>> frame = pd.DataFrame({"path": ["a.wav", "c.wav"], "prediction": ["one", "two"], "score": [-0.25, -0.5]})
    >>> in_step(frame, ["a.wav", "b.wav", "c.wav"], "path")
    ['one', '', 'two']
    """
    names, heard, place = frame[column].astype(str).tolist(), said_in(frame), 0
    lines = list[str]()
    for name in listed:
        first = place
        while place < len(names) and names[place] == name and frame.index[place] == frame.index[first]:
            place += 1
        lines += heard[first:place] or [""]
    return lines


def said_in(frame: pd.DataFrame) -> list[str]:
    """What was heard, a line each; where recordings have several outputs, each after its score and a tab.

    >>> said_in(pd.DataFrame({"prediction": ["one", "two"], "score": [-0.25, -0.5]}))
    ['one', 'two']
    """
    several = frame.index.duplicated().any()
    found = zip(frame["prediction"], frame["score"], strict=True)
    return [f"{score:.4f}\t{text}" if several else str(text) for text, score in found]


@dataclass(frozen=True)
class Transcribed(Concluded):
    """A split of speech beside what the model puts out for its recordings, decoded once."""

    source: SpeechSource
    outputs: Outputs

    @cached_property
    def translated(self) -> Translated:
        """The same as pairs, whose sources are recordings."""
        return Translated(self.source, self.outputs)

    def frame(self) -> pd.DataFrame:
        return self.translated.frame()

    def scores(self) -> dict[str, Score]:
        """The share that is exactly right, and the edit rates in words and in characters."""
        texts, wanted = self.translated.compared
        right = exact(texts, wanted)
        rates = [edit_rate(texts, wanted, unit) for unit in ("words", "characters")]
        return dict(zip(SCORES, [wilson(int(right.sum()), len(right)), *rates], strict=True))

    def shown(self) -> dict[str, Any]:
        return self.translated.looked()
