r"""Recordings: a sound file as samples, and samples as frames, the logarithms of how much of each pitch there is.

A frame is a window of 25 ms, and one begins every 10 ms, with its middle at $t h$ for the hop $h$. With the Hann window
$w$ and samples $x$, zeros around them, frame $t$ has at frequency $k$ the power
$p_{tk} = |\sum_n w_n x_{th + n - N/2} e^{-2 \pi i k n / N}|^2$, where $N$ is the power of two at or above the window,
which stands in its middle. Its numbers are

$$ m_{tj} = \ln \max\big(10^{-10}, \textstyle\sum_k f_{jk} p_{tk}\big) $$

with triangles $f_j$ of area one, spread evenly on the mel scale from 0 to half the rate. The scale is Slaney's
(Auditory Toolbox, 1998): linear up to 1,000 Hz, logarithmic beyond; or that of HTK, $2595 \log_{10}(1 + f / 700)$.
These are the numbers of `librosa.feature.melspectrogram`, as natural logarithms.
"""

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thalweg.core.errors import DataError, RecipeError, did_you_mean

ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64", ".rf64")
WAVE64 = b"riff.\x91\xcf\x11\xa5\xd6(\xdb\x04\xc1\x00\x00"
"""How a file of Sony's Wave64 begins."""
LEAST = 1e-10
"""What a sum of powers counts at least, before its logarithm: silence has one."""
LONGEST = 600.0
"""Seconds up to which a recording is decoded."""
LINEAR, BREAK, STEP = 200 / 3, 1000.0, math.log(6.4) / 27
"""Slaney's scale: Hertz for a mel below the break, where the break is, and the logarithm of a mel's factor above it."""
NORMALIZE = ("recording", "pitches", "none")


class Unreadable(ValueError):
    """Why a recording cannot be used, in a few words without its name."""


class Recording(NamedTuple):
    """A sound as numbers from -1 to 1, all channels mixed into one, and how many of them there were each second."""

    samples: Float[np.ndarray, " sample"]
    rate: int
    channels: int = 1

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


def is_recording(path: Path) -> bool:
    """Whether a file is called like a recording.

    >>> is_recording(Path("yes/1.WAV")), is_recording(Path("notes.txt"))
    (True, False)
    """
    return path.suffix.lower() in ENDINGS


def soundfile() -> Any:
    """The module that reads sound files.

    Raises `DataError` where it is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: its library is not there
        raise DataError("Recordings need soundfile to be read: pip install soundfile.") from None
    return soundfile


def read_recording(path: str | Path, limit: float = LONGEST) -> Recording:
    """A sound file (wav, flac, ogg, mp3, aiff, w64), its channels mixed into one by their mean.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "tone.wav"
    >>> soundfile().write(path, np.sin(np.arange(800) / 5), 8000)
    >>> read_recording(path).seconds
    0.1

    Raises `DataError` for what is no sound file, holds nothing, is not finite, or is longer than `limit` seconds.
    """
    try:
        return decoded(Path(path), limit)
    except Unreadable as error:
        raise DataError(f"{path} cannot be used: {error}. Mend it, or take it away.") from None


def decoded(path: Path, limit: float = LONGEST) -> Recording:
    """The same.

    Raises `Unreadable` with the reason.
    """
    library = soundfile()
    try:
        with library.SoundFile(path) as file:
            seconds = file.frames / file.samplerate
            if seconds > limit:
                raise Unreadable(f"it is {seconds:,.0f} s long, over the limit of {limit:g} s")
            samples, rate = file.read(dtype="float32", always_2d=True), int(file.samplerate)
            missing = 1 - len(samples) / file.frames if file.frames else 0.0
            if (lost := max(missing, _lost(path))) > 0.001:
                raise Unreadable(f"it is cut short, {lost:.0%} of it are not there")
    except (library.SoundFileError, OSError, TypeError, ZeroDivisionError) as error:
        raise Unreadable(_said(path, error)) from None
    if not len(samples):
        raise Unreadable("it holds no samples")
    if not np.isfinite(samples).all():
        second = np.flatnonzero(~np.isfinite(samples).all(1))[0] / rate
        raise Unreadable(f"it is not finite (NaN or infinity at {second:.3g} s)")
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(1)
    return Recording(np.ascontiguousarray(mono), rate, samples.shape[1])


def resampled(recording: Recording, rate: int) -> Recording:
    """The same sound at another rate, by a polyphase filter that keeps out what the new rate cannot hold.

    >>> resampled(Recording(np.zeros(441, np.float32), 44_100), 16_000).samples.shape
    (160,)
    """
    if recording.rate == rate:
        return recording
    from scipy.signal import resample_poly

    shared = math.gcd(rate, recording.rate)
    samples = resample_poly(recording.samples, rate // shared, recording.rate // shared)
    return Recording(np.asarray(samples, np.float32), rate, recording.channels)


@dataclass(frozen=True)
class LogMel:
    """The frames of sounds of one rate, `(frame, mel)`: a function of samples, and all that another sound needs.

    `mels` is by default 80 from 16,000 Hz on, 40 from 8,000 Hz on, and one for 200 Hz below; `window` and `hop` are in
    seconds; `htk` takes that scale in place of Slaney's. `normalize` takes away what a recording has throughout:
    "recording" gives all its numbers together the mean 0 and the deviation 1, so that how loud it is no longer tells;
    "pitches" does so for each pitch by itself, over the frames, so that neither microphone nor room does, but with them
    goes what a short word has throughout; "none" leaves all as it is.

    >>> frames = LogMel(8000, normalize="none")
    >>> tone = torch.sin(torch.arange(8000) * 2 * torch.pi * 1000 / 8000)
    >>> frames(tone).shape, frames.centers[frames(tone)[50].argmax()].round().item()
    (torch.Size([101, 40]), 972.0)
    >>> LogMel.from_json(frames.to_json()) == frames
    True

    Raises `RecipeError` for a value that is none, and for more mels than the window can tell apart.
    """

    rate: int
    mels: int | None = None
    window: float = 0.025
    hop: float = 0.010
    htk: bool = False
    normalize: str = "recording"

    def __post_init__(self) -> None:
        if self.rate < 200:
            raise RecipeError(f"rate={self.rate!r}, but it is the samples of a second, 200 at least. Give 16000.")
        if self.normalize not in NORMALIZE:
            raise RecipeError(
                f"normalize={self.normalize!r} is not known.{did_you_mean(str(self.normalize), NORMALIZE)}"
            )
        if not 0 < self.hop <= self.window or round(self.hop * self.rate) < 1:
            raise RecipeError(
                f"window={self.window!r} and hop={self.hop!r} are in seconds, the hop above 0 and at most the window, "
                f"and a sample at least. Give 0.025 and 0.010."
            )
        if self.mels is None:
            object.__setattr__(
                self, "mels", 80 if self.rate >= 16_000 else 40 if self.rate >= 8000 else self.rate // 200
            )
        if self.count < 1:
            raise RecipeError(f"mels={self.mels!r}, but a frame has one number at least. Give 40.")
        if (empty := int((self.filters.sum(1) == 0).sum())) > 0:
            raise RecipeError(
                f"mels={self.count}: a window of {1000 * self.window:g} ms at {self.rate:,} Hz cannot tell so many "
                f"pitches apart, {empty} of them would be nothing. Give fewer mels, or a longer window."
            )

    @property
    def count(self) -> int:
        """How many numbers a frame has."""
        assert self.mels is not None
        return self.mels

    @property
    def width(self) -> int:
        """The samples of a window."""
        return round(self.window * self.rate)

    @property
    def size(self) -> int:
        """The samples that are transformed: the power of two at or above the window."""
        return int(2 ** math.ceil(math.log2(self.width)))

    @cached_property
    def points(self) -> Float[np.ndarray, " mel_and_two"]:
        """Where triangles begin, peak and end, in Hertz: each begins at the peak of the one before."""
        top = to_mel(self.rate / 2, self.htk)
        return np.array([to_hertz(mel, self.htk) for mel in np.linspace(0, top, self.count + 2)])

    @property
    def centers(self) -> Float[Tensor, " mel"]:
        """The frequency in Hertz at which each number of a frame peaks."""
        return torch.from_numpy(self.points[1:-1])

    @cached_property
    def filters(self) -> Float[Tensor, "mel frequency"]:
        """The triangles, each of area one over Hertz."""
        frequency = np.arange(self.size // 2 + 1) * self.rate / self.size
        low, peak, high = self.points[:-2, None], self.points[1:-1, None], self.points[2:, None]
        rising, falling = (frequency - low) / (peak - low), (high - frequency) / (high - peak)
        return torch.from_numpy(np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low))

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor]:
        return torch.hann_window(self.width), self.filters.float()

    def frames(self, samples: int) -> int:
        """How many frames so many samples have."""
        return 1 + samples // round(self.hop * self.rate)

    def __call__(self, samples: Float[Tensor, " sample"]) -> Float[Tensor, "frame mel"]:
        """The frames of a recording of this rate, float32."""
        window, filters = self._parts
        hop = round(self.hop * self.rate)
        spectrum = torch.stft(
            samples.float(), self.size, hop, self.width, window, center=True, pad_mode="constant", return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        values = (filters @ power).clamp_(min=LEAST).log_().T
        if self.normalize == "none":
            return values.contiguous()
        return standardized(values, by_column=self.normalize == "pitches")

    def to_json(self) -> dict[str, Any]:
        """The settings in plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "LogMel":
        """The settings that `to_json` wrote."""
        return cls(**plain)


def standardized(values: Float[Tensor, "frame mel"], by_column: bool = False) -> Float[Tensor, "frame mel"]:
    """Numbers with the mean 0 and the deviation 1, all together or column by column; 0 where all are the same.

    >>> standardized(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), by_column=True)
    tensor([[-1.,  0.],
            [ 1.,  0.]])
    """
    whole = values.double()
    axis = 0 if by_column else (0, 1)
    centered = whole - whole.mean(axis, keepdim=True)
    scale = centered.square().mean(axis, keepdim=True).sqrt()
    return torch.where(scale > 1e-6, centered / scale.clamp(min=1e-6), 0.0).float()


def to_mel(hertz: float | int, htk: bool = False) -> float:
    """A frequency on the mel scale.

    >>> round(to_mel(500), 1), round(to_mel(1000, htk=True), 1)
    (7.5, 1000.0)
    """
    if htk:
        return 2595 * math.log10(1 + hertz / 700)
    return hertz / LINEAR if hertz < BREAK else BREAK / LINEAR + math.log(hertz / BREAK) / STEP


def to_hertz(mel: float | int, htk: bool = False) -> float:
    """The frequency of a mel, the inverse of `to_mel`.

    >>> round(to_hertz(to_mel(3000))), round(to_hertz(to_mel(3000, htk=True), htk=True))
    (3000, 3000)
    """
    if htk:
        return float(700 * (10 ** (mel / 2595) - 1))
    return mel * LINEAR if mel < BREAK / LINEAR else BREAK * math.exp(STEP * (mel - BREAK / LINEAR))


def _lost(path: Path) -> float:
    """The share of a wav, rf64, w64, aiff or au file that its head promises and is not there; a stream's promises
    nothing.
    """
    with path.open("rb") as file:
        promised = _promised(file.read(40))
    return max(0.0, 1 - path.stat().st_size / promised) if promised > 0 else 0.0


def _promised(head: bytes) -> int:
    """The bytes that a file has by its first 40, 0 where they do not say."""
    kind, form = head[:4], head[8:12]
    if kind in (b"RF64", b"BW64") and head[12:16] == b"ds64":
        promised, most = int.from_bytes(head[20:28], "little") + 8, 2**63
    elif head[:16] == WAVE64:
        promised, most = int.from_bytes(head[16:24], "little"), 2**63
    elif kind == b"RIFF" and form == b"WAVE":
        promised, most = int.from_bytes(head[4:8], "little") + 8, 2**32 - 2**16
    elif kind == b"FORM" and form in (b"AIFF", b"AIFC"):
        promised, most = int.from_bytes(head[4:8], "big") + 8, 2**32 - 2**16
    elif kind == b".snd":
        promised, most = int.from_bytes(head[4:8], "big") + int.from_bytes(form, "big"), 2**32 - 2**16
    else:
        return 0
    return promised if promised < most else 0


def _said(path: Path, error: Exception) -> str:
    if not path.exists():
        return "there is no such file"
    if path.is_dir():
        return "it is a folder"
    if not path.stat().st_size:
        return "it is an empty file"
    text = str(getattr(error, "error_string", error)).rstrip(". ")
    return f"it is no sound file that can be read ({text})"
