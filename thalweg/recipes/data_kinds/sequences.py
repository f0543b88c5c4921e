"""Sequences: texts, sentences whose words have tags, and recordings as frames."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg.core.source import Source, Splits
from thalweg.core.tokens import NO_TARGET
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
    sequences_of,
    tag_frame,
    text_splits,
)
from thalweg.data.sequence_encoding import PLACES
from thalweg.measure import tag_accuracy
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
        return options.get("text") is None and (named or options.get("target") is None) and holds_tags(path)

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
        return {"accuracy": tag_accuracy}

    def fitting(self, encoding: Any) -> tuple[str, ...]:
        return ("accuracy",)

    def measured(self, metrics: Mapping[str, Any], encoding: Any) -> dict[str, Any]:
        return {name: self.metrics(encoding)[name] for name in metrics}

    def class_numbers(self, source: Any) -> Tensor:
        return torch.cat([y[y != NO_TARGET] for _, y in source.batches(0, 0, None)])

    def scored(self, source: Any, outputs: list[Tensor]) -> Tensor:
        pairs = zip(outputs, source.batches(0, 0, None), strict=True)
        return torch.cat([output[y != NO_TARGET] for output, (_, y) in pairs])

    def opened(self, file: str, encoding: Any) -> Any:
        return file if file == "-" else Path(file)

    def frame(self, source: Any, outputs: list[Tensor], **shown: Any) -> Any:
        return tag_frame(source, outputs, **shown)


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
