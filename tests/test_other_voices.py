"""Recordings in another voice: frames of another pitch and speed, the remedies for them, and a speaker never heard."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg.core.arrays import ArraySource
from thalweg.core.counter import uniform
from thalweg.core.errors import RecipeError
from thalweg.core.source import Splits
from thalweg.data import Masked, SpecAugment
from thalweg.diagnosis import Budget, Cause, Finding
from thalweg.diagnosis.laboratory import CONTROL, lay_out
from thalweg.diagnosis.mismatch import Mismatch, mismatch_alone
from thalweg.nn import Prepared, rnn
from thalweg.nn.inputs import NoisyInputs, Standardized
from thalweg.recipes.express import as_toml, expressed
from thalweg.remedy import Remedy, remedies_for
from thalweg.remedy.frames import UNMASKED, VARIED, shows_frames, varied_frames
from thalweg.remedy.shift import each_standardized
from thalweg.training import Recipe

VOICES = {"anna": 1.0, "berta": 1.04, "carl": 0.96, "zoe": 1.35}
WORDS = {"rising": (1.0, 1.5), "falling": (1.5, 1.0), "steady": (1.2, 1.2)}


def slow_other_voice(masks: SpecAugment, frames: Tensor, lengths: list[int], key: int, ids: Tensor) -> list[Tensor]:
    """Each example alone, by interpolation on a line."""
    first = max(2 * (masks.pitch_masks + masks.time_masks), 1)
    drawn = uniform(key, ids, first + 4)[:, first:].double().numpy()
    made = []
    for one, length, (pitch, speed, begin, end) in zip(frames.double().numpy(), lengths, drawn, strict=True):
        higher, faster = 1 + masks.pitch_warp * (2 * pitch - 1), 1 + masks.speed * (2 * speed - 1)
        first, last = int(masks.cut * begin * length), length - int(masks.cut * end * length)
        own, mels, kept = one[:length], np.arange(one.shape[1]), last - first
        sung = np.stack([np.interp(mels / higher, mels, frame) for frame in own])
        moments = first + np.minimum(np.arange(max(1, round(kept / faster))) * faster, kept - 1)
        made.append(torch.tensor(np.stack([np.interp(moments, np.arange(length), column) for column in sung.T], 1)))
    return made


@pytest.mark.parametrize("cut", [0.0, 0.3])
def test_another_voice_is_read_between_the_frames(cut: float) -> None:
    masks, lengths, ids = SpecAugment(pitch_warp=0.3, speed=0.4, cut=cut), [17, 1, 11], torch.arange(3) + 5
    frames = torch.randn(3, 17, 13, generator=torch.Generator().manual_seed(0))
    before = frames.clone()
    made, counts = masks.spoken_otherwise(frames, torch.tensor(lengths), 7, ids)
    slow = slow_other_voice(masks, frames, lengths, 7, ids)
    assert counts.tolist() == [len(one) for one in slow] != lengths
    assert made.shape[1] == max(counts.tolist())
    for fast, one in zip(made, slow, strict=True):
        torch.testing.assert_close(fast[: len(one)].double(), one, rtol=0, atol=1e-4)
        assert not fast[len(one) :].any()
    assert torch.equal(frames, before)
    same = SpecAugment().spoken_otherwise(frames, torch.tensor(lengths), 7, ids)
    assert same[0] is frames


def test_masks_are_drawn_as_before_where_the_voice_varies() -> None:
    frames, lengths, ids = torch.ones(3, 19, 13), torch.tensor([19, 7, 11]), torch.arange(3)
    plain, other = (masks(frames, lengths, 3, ids) for masks in (SpecAugment(), SpecAugment(pitch_warp=0.2, speed=0.2)))
    assert torch.equal(plain, other)


@pytest.mark.parametrize("setting", [{"pitch_warp": 1.0}, {"speed": -0.1}, {"cut": 0.5}])
def test_a_voice_varies_by_less_than_itself(setting: dict[str, float]) -> None:
    (name,) = setting
    with pytest.raises(
        RecipeError, match=rf"{name} is .*, but it is (how far a factor lies from 1|the share of a rec)"
    ):
        SpecAugment(**setting)


def test_an_example_keeps_its_voice_in_any_batch() -> None:
    frames = torch.randn(7, 23, 11, generator=torch.Generator().manual_seed(1))
    whole = ArraySource(((frames, torch.full((7,), 23)), torch.arange(7)), 7)
    masks = SpecAugment(**UNMASKED, **VARIED)

    def voices(source: Any) -> dict[int, Tensor]:
        batches = source.batches(1, 0, torch.Generator().manual_seed(5))
        each = (one for (x, n), y in batches for one in zip(y.tolist(), x, n.tolist(), strict=True))
        return {name: x[:n] for name, x, n in each}

    first = voices(Masked(whole, masks))
    for other in (Masked(whole.batched(2), masks), Masked(whole, masks).take([5, 2, 6])):
        assert all(torch.equal(one, first[name]) for name, one in voices(other).items())
    assert {len(one) for one in first.values()} != {23}


def test_padding_counts_nowhere_before_a_network() -> None:
    x = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0)) * 3 + 2
    lengths = torch.tensor([7, 3, 1])
    keeps = Keeps()
    Standardized(keeps)(x, lengths)
    assert torch.equal(keeps.lengths, lengths)
    for own, made, length in zip(x, keeps.x, lengths.tolist(), strict=True):
        there = own[:length]
        slow = (there - there.mean(0)) / (there.std(0, correction=0) + 1e-5)
        torch.testing.assert_close(made[:length], slow, rtol=1e-4, atol=1e-5)
        assert not made[length:].any()
    noisy = NoisyInputs(keeps, 0.5)
    noisy.eval()(x, lengths)
    assert torch.equal(keeps.x, x)
    deviations = []
    for filled in (0.0, 1000.0):  # what stands in the padding does not make the noise louder
        padded = x.clone()
        padded[1, 3:], padded[2, 1:] = filled, filled
        torch.manual_seed(0)
        noisy.train()(padded, lengths)
        deviations.append((keeps.x - padded)[0].std())
    torch.testing.assert_close(*deviations, rtol=1e-3, atol=0)
    present = torch.cat([x[0], x[1, :3], x[2, :1]])
    assert 0.7 < deviations[0] / (0.5 * present.std(correction=0)) < 1.4


class Keeps(nn.Module):
    """A model that keeps what it is given."""

    x: Tensor
    lengths: Tensor

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        self.x, self.lengths = x, lengths
        return x.mean((1, 2))


def songs(n: int, seed: int, higher: float = 1.0) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Frames in which a peak of one of three courses stands, at a pitch of the singer's own."""
    random = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (n,), generator=random)
    lengths = torch.randint(9, 14, (n,), generator=random)
    begin, end = (torch.tensor([pair[i] for pair in WORDS.values()])[y] for i in (0, 1))
    share = torch.arange(13) / (lengths[:, None] - 1)
    pitch = 8 * higher * (begin[:, None] + (end - begin)[:, None] * share)
    frames = torch.exp(-((torch.arange(17) - pitch[..., None]) ** 2) / 4)
    frames = frames + 0.1 * torch.randn(frames.shape, generator=random)
    return (frames * (torch.arange(13) < lengths[:, None])[..., None], lengths), y


def of_songs(**changes: Any) -> Recipe:
    data = Splits(train=songs(120, 0), validation=songs(60, 1), test=songs(60, 2, higher=1.3))
    recipe = Recipe(
        data=data,
        model=partial(rnn, 3, inputs=17, cell="gru", width=11),
        objective=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.Adam, lr=0.02),
        batch_size=20,
        epochs=20,
    )
    return recipe.but(**changes)


def alone(recipe: Recipe) -> Mismatch | None:
    """What is said of test before any floor is known."""
    lab = lay_out(recipe, torch.device("cpu"), Budget(), lambda stage: None)
    (run,) = lab.run(CONTROL, lab.recipe, [0])
    return mismatch_alone(lab, run, (lab.losses(run, lab.train), lab.losses(run, lab.validation)))


def test_what_costs_more_than_all_before_it_needs_no_floor() -> None:
    recipe = of_songs()
    found = alone(recipe)
    assert found is not None
    assert found.harms
    assert found.effect.low > 0.5
    assert alone(recipe.but(data=replace(recipe.data, test=songs(60, 3)))) is None, "test costs nothing"
    assert alone(recipe.but(epochs=1)) is None, "as much is lost before test"
    assert alone(recipe.but(objective=lower_by_five)) is None, "a loss that has no lower end"
    assert alone(recipe.but(data=replace(recipe.data, test=None))) is None


def lower_by_five(output: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, target) - 5


def test_frames_are_told_from_other_sequences() -> None:
    batch = songs(20, 0)
    (frames, lengths), y = batch
    assert shows_frames(batch)
    assert not shows_frames(((frames[..., :5], lengths), y)), "too few pitches"
    assert not shows_frames(((torch.randn(20, 9, 17), lengths), y)), "numbers in no order"
    assert not shows_frames((frames, y)), "images without channels"
    assert not shows_frames(((frames.long(), lengths), y))
    names = [remedy.name for remedy in remedies_for(Finding(Cause.MISMATCH, ""))]
    assert "pitch and speed varied" not in names


def test_frames_vary_beside_what_happens_to_them() -> None:
    recipe = of_songs()
    varied = varied_frames(recipe, **UNMASKED, **VARIED)
    assert varied.data.train.masks == SpecAugment(**UNMASKED, **VARIED)
    assert varied.data.validation is recipe.data.validation
    assert varied_frames(varied, **UNMASKED, **VARIED) is varied
    both = varied_frames(varied, pitch_masks=2, time_masks=1)
    assert both.data.train.masks == SpecAugment(time_masks=1, **VARIED)
    assert len(both.data.train) == 120
    assert thalweg.train(both.but(epochs=1)).status.good


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of three words, each a course of pitch, by four voices, of which one is much higher."""
    soundfile = pytest.importorskip("soundfile")
    folder = tmp_path_factory.mktemp("spoken")
    random = np.random.default_rng(0)
    for word, (begin, end) in WORDS.items():
        for voice, higher in VOICES.items():
            for take in range(12):
                count = int(8000 * random.uniform(0.14, 0.2))
                pitch = 600 * higher * random.uniform(0.97, 1.03) * np.linspace(begin, end, count)
                sound = np.sin(2 * np.pi * np.cumsum(pitch) / 8000) + random.normal(0, 0.05, count)
                soundfile.write(folder / f"{word}_{voice}_{take}.wav", 0.4 * sound, 8000)
    return folder


def of_voices(folder: Path) -> Recipe:
    data = {"pattern": "{label}_{speaker}_{take}", "test": "speaker=zoe", "group": "speaker"}
    settings = ["model.kind=rnn", "model.cell=gru", "model.width=12", "optimizer.lr=0.02", "epochs=20", "batch_size=16"]
    return thalweg.load(folder, data=data, assignments=settings)


def test_a_speaker_who_was_never_heard_is_named(spoken: Path) -> None:
    finding = thalweg.diagnose(of_voices(spoken), budget=20)
    assert finding.cause is Cause.MISMATCH
    assert "test has one speaker alone, zoe, which is not in train" in finding.mechanism
    assert finding.cost.runs == 1  # the recipe as it is alone: no sibling of it
    assert "floor" not in finding.losses
    assert finding.remedies[0].name == "pitch and speed varied"


@pytest.mark.battery
def test_another_pitch_in_training_narrows_what_a_new_voice_costs(spoken: Path) -> None:
    recipe = of_voices(spoken)
    remedy = Remedy("pitch and speed varied", Cause.MISMATCH, partial(varied_frames, **UNMASKED, **VARIED))
    proof = thalweg.prove(recipe, remedy)
    assert proof.measure == "test loss"
    assert proof.helped
    assert sum(with_it for _, _, with_it in proof.pairs) < 0.7 * sum(without for _, without, _ in proof.pairs)


def test_what_was_adopted_is_written_into_a_recipe(spoken: Path, tmp_path: Path) -> None:
    recipe = of_voices(spoken)
    changed = each_standardized(varied_frames(recipe, **UNMASKED, **VARIED))
    assert isinstance(changed.model, Prepared)
    said = expressed(changed, recipe)
    assert said.difference(changed) == []
    assert said.data.train.masks == changed.data.train.masks
    written = as_toml(said, tmp_path) or ""
    assert "pitch_masks = 0" in written
    assert "pitch_warp = 0.15" in written
    usual = varied_frames(recipe, pitch_masks=2, time_masks=2)  # all as it is by default, and yet more than nothing
    assert expressed(usual, recipe).data.train.masks == SpecAugment()
