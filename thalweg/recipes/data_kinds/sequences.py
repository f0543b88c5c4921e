"""Sequences: texts, sentences whose words have tags, and recordings as frames."""

import gzip
import sys
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg.core.errors import RecipeError
from thalweg.core.notices import notice
from thalweg.core.source import Source, Splits
from thalweg.core.tokens import NO_TARGET
from thalweg.core.wording import counted
from thalweg.data import (
    AudioOptions,
    Masked,
    SequenceEncoding,
    SpecAugment,
    conll_splits,
    holds_recordings,
    holds_tags,
    holds_text,
    recording_splits,
    retagged,
    sequences_of,
    tag_frame,
    text_splits,
)
from thalweg.data.conll_loading import ENDINGS as CONLL
from thalweg.data.word_hashing import PLACES
from thalweg.recipes.data_kinds.epochs import batch_size, sequence_epochs
from thalweg.recipes.data_kinds.kind import DataKind, Outputs
from thalweg.recipes.data_kinds.table import read_columns
from thalweg.recipes.settings import Section, Settings

AT_ONCE, POSITIONS = 256, 2**16
"""Sequences in a batch of prediction, and the positions that it may have."""


class Sequences(DataKind):
    """What texts, tagged sentences and recordings share: `(values, lengths)` of a `SequenceSource`."""

    models = ("encoder", "rnn")
    content: ClassVar[str]
    """What the encoding calls the sequences."""

    def reads(self, encoding: Any) -> bool:
        return isinstance(encoding, SequenceEncoding) and encoding.schema.kind == self.content

    def from_json(self, plain: Mapping[str, Any]) -> Any:
        return SequenceEncoding.from_json(dict(plain))

    def defaults(self, settings: Settings, train: Any) -> dict[str, Section]:
        model = {"kind": "encoder", "width": 64, "depth": 2}
        return {"model": model, "fit": {"epochs": sequence_epochs(len(train), batch_size(settings))}}

    def sizes(self, encoding: Any, outputs: int, model: str) -> dict[str, Any]:
        return {"vocabulary": len(encoding.vocabulary)}

    def predicted(self, data: Any, encoding: Any, outputs: Outputs, **shown: Any) -> Any:
        source = sequences_of(data, encoding, labelled=False).batched(AT_ONCE).budgeted(POSITIONS)
        return self.frame(source, outputs(source.inputs(places) for places in source.ordered(1, None)), **shown)

    def judged(self, file: str, encoding: Any) -> Source:
        return sequences_of(self.opened(file, encoding), encoding)


class Text(Sequences):
    """A table whose one useful column is a text."""

    name = "text"
    holds = "texts"
    plural = "texts"
    content = "texts"
    spelled: ClassVar[Mapping[str, str]] = {"test": "test_path", "split_seed": "seed", "vocabulary": "size"}

    def loaders(self) -> Sequence[Callable[..., Any]]:
        return (text_splits,)

    def recognizes(self, path: Path, options: Mapping[str, Any]) -> bool:
        if options.get("text") is not None:
            return True
        if options.get("features") is not None or options.get("layout") is not None:
            return False
        roles = {name: options.get(name) for name in ("group", "time", "weights")}
        return holds_text(path, options.get("target"), options.get("header", True), roles)

    def load(self, source: str | Path, arguments: dict[str, Any], settings: Settings) -> Splits:
        return text_splits(source, **arguments)

    def opened(self, file: str, encoding: Any) -> Any:
        return read_columns(file, encoding.schema.header, [encoding.schema.text])


class Tags(Sequences):
    """Sentences with a tag for each word."""

    name = "tags"
    holds = "sentences with tags"
    plural = "sentences with tags"
    content = "words"
    models = ("rnn", "encoder")
    spelled: ClassVar[Mapping[str, str]] = {
        "test": "test_path",
        "validation": "validation_path",
        "split_seed": "seed",
        "vocabulary": "size",
    }

    def loaders(self) -> Sequence[Callable[..., Any]]:
        return (conll_splits,)

    def changed(self, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
        paths = {name: parameters[name].replace(annotation=str | None) for name in ("validation", "test")}
        return paths | {"tokens": parameters["tokens"].replace(default=1024)}

    def recognizes(self, path: Path, options: Mapping[str, Any]) -> bool:
        named = path.is_dir() or "".join(path.suffixes[-2:]).startswith(".conll")
        if options.get("text") is not None or options.get("output") is not None:
            return False
        return (named or options.get("target") is None) and holds_tags(path)

    def load(self, source: str | Path, arguments: dict[str, Any], settings: Settings) -> Splits:
        return conll_splits(source, **({"tokens": 1024} | arguments))

    def defaults(self, settings: Settings, train: Any) -> dict[str, Section]:
        words = {"dropout": 0.4, "word_dropout": 0.1}
        model = {"kind": "rnn", "bidirectional": True, "width": 128, **words}
        batches = max(1, train.count_batches())
        epochs = max(8, min(100, -(-1000 // batches)))
        rate = {"kind": "adamw", "lr": 3e-3 if settings["model"].get("kind", "rnn") == "rnn" else 1e-3}
        return {"model": model, "optimizer": rate, "fit": {"epochs": epochs}}

    def sizes(self, encoding: Any, outputs: int, model: str) -> dict[str, Any]:
        return super().sizes(encoding, outputs, model) | {"places": PLACES, "head": "position"}

    def likelihood(self, encoding: Any) -> str:
        return "tagging"

    def metrics(self, encoding: Any) -> dict[str, Any]:
        """All but the area under the curve, which few ask of tags and which sorts every word once for each class."""
        return {name: metric for name, metric in super().metrics(encoding).items() if name != "auc"}

    def class_numbers(self, source: Any) -> Tensor:
        return torch.cat([y[y != NO_TARGET] for _, y in source.batches(0, 0, None)])

    def scored(self, source: Any, outputs: list[Tensor]) -> Tensor:
        pairs = zip(outputs, source.batches(0, 0, None), strict=True)
        return torch.cat([output[y != NO_TARGET] for output, (_, y) in pairs])

    def predicted(self, data: Any, encoding: Any, outputs: Outputs, **shown: Any) -> Any:
        frame = super().predicted(data, encoding, outputs, **shown)
        if beyond := int(frame["prediction"].isna().sum()):
            verb = "has" if beyond == 1 else "have"
            notice(
                f"{counted(beyond, 'word')} behind position {encoding.schema.longest} of their sentence, where it is "
                f"cut off (data.longest), {verb} no prediction."
            )
        return frame

    def opened(self, file: str, encoding: Any) -> Any:
        """The path; what comes from the standard input is kept, for it may be read again to be written back."""
        if file != "-":
            return Path(file)
        held = BytesIO(sys.stdin.buffer.read())
        held.name = "<stdin>"
        return held

    def frame(self, source: Any, outputs: list[Tensor], **shown: Any) -> Any:
        return tag_frame(source, outputs, **shown)

    def writer(self, rows: Any, encoding: Any, output: Path | None, all_probabilities: bool) -> Callable[[Any], bytes]:
        """CSV, or, into a file named as CoNLL is, the lines that were read with their tags replaced."""
        if output is None or not output.name.lower().endswith(CONLL):
            return super().writer(rows, encoding, output, all_probabilities)
        if all_probabilities:
            raise RecipeError(
                f"{output.name} is to be CoNLL, which has one column for the tag of a word and none for the "
                "probabilities of --proba. Leave --proba out, or write a table: --output tags.csv."
            )
        columns = encoding.schema.columns or (1, 2)

        def written(frame: Any) -> bytes:
            if isinstance(rows, BytesIO):
                rows.seek(0)
            data = retagged(rows, frame["prediction"].tolist(), columns)
            return gzip.compress(data, mtime=0) if output.suffix.lower() == ".gz" else data

        return written


class Recordings(Sequences):
    """Recordings as log-mel frames."""

    name = "recordings"
    holds = "recordings"
    plural = "recordings"
    content = "frames"
    spelled: ClassVar[Mapping[str, str]] = {"split_seed": "seed"}

    def loaders(self) -> Sequence[Callable[..., Any]]:
        return (recording_splits, AudioOptions)

    def reads(self, encoding: Any) -> bool:
        return super().reads(encoding) and encoding.schema.mel is not None

    def recognizes(self, path: Path, options: Mapping[str, Any]) -> bool:
        return options.get("pattern") is not None or holds_recordings(path, options.get("header", True))

    def load(self, source: str | Path, arguments: dict[str, Any], settings: Settings) -> Splits:
        return recording_splits(source, **arguments)

    def sizes(self, encoding: Any, outputs: int, model: str) -> dict[str, Any]:
        return {"inputs": len(encoding.means)}

    def augmentation(self) -> Callable[..., Any]:
        return SpecAugment

    def altered(self, train: Any, chosen: Any, copies: int) -> Any:
        return Masked(train, chosen)

    def opened(self, file: str, encoding: Any) -> Any:
        return Path(file)

    def opened_together(self, files: Sequence[str], encoding: Any) -> Any:
        return list(map(Path, files))
