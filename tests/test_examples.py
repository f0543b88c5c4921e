"""examples/: every recipe there is trained as it is written, on a few pairs in the place of its data."""

import gzip
from pathlib import Path

import pytest

import thalweg
from thalweg.data import PairSource

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.toml"))
SMALL = ["model.width=8", "model.feed_forward=8", "epochs=2", "data.vocabulary=300"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Files called like those of Multi30k, with captions in each."""
    folder = tmp_path / "multi30k"
    folder.mkdir()
    for name, count in (("train", 40), ("val", 10), ("test_2016_flickr", 10)):
        for language, words in (("en", "{} red houses near a river"), ("de", "{} rote Häuser an einem Fluss")):
            lines = (words.format(name[0] + str(i)) for i in range(count))
            (folder / f"{name}.{language}.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return tmp_path


@pytest.mark.parametrize("recipe", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_trained(recipe: Path, files: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    (files / recipe.name).write_text(text, encoding="utf-8")
    nearer = ["average.every=1", "average.count=2"] if '"checkpoints"' in text else []
    loaded = thalweg.load(files / recipe.name, assignments=[*SMALL, *nearer])
    data = loaded.data
    assert isinstance(data.train, PairSource)
    assert (len(data.train), len(data.validation), len(data.test)) == (40, 10, 10)
    assert data.train.schema.shared
    assert data.train.schema.unit == ("subwords", "subwords")
    run = thalweg.train(loaded, device="cpu")
    assert run.status.good
    assert run.history[-1]["train_loss"] > 0


def test_there_are_examples() -> None:
    assert [path.name for path in EXAMPLES] == ["multi30k-cpu.toml", "multi30k.toml"]
