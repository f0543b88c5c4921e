"""Reward: the likelihood of [objective] with a reward for what the model puts out, by its name or one of your own.

Here the loss meets decoding: samples are drawn and likeliest outputs searched for in batches, with the caches that
decoding has, and scored as texts.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.errors import RecipeError, ThalwegError, did_you_mean
from thalweg.core.objective import name_of
from thalweg.core.tokens import END, MARKS, UNKNOWN
from thalweg.data import PairEncoding, SpeechEncoding
from thalweg.decode import Hypothesis, greedy
from thalweg.decode import sample as draw
from thalweg.loss import Reward, Rewarded
from thalweg.loss.risk import Row
from thalweg.measure.reward import REWARDS, Worth
from thalweg.recipes.construction import INPUTS, REWARD, beside, built, imported
from thalweg.recipes.data_kinds import DataKind
from thalweg.recipes.decoded import most_tokens
from thalweg.recipes.settings import Settings

READ_BY = {"baseline": "self-critical", "sharpness": "minimum-risk", "gold": "minimum-risk"}
"""Keys of a reward that one method alone reads."""
COPIED, LACKING = 0xE000, "\uf8ff"
"""From here on characters of no script stand for what is copied from the source; one for what no vocabulary holds."""


def reward_around(
    likelihood: nn.Module,
    encoding: PairEncoding | SpeechEncoding,
    *,
    reward: str | None = None,
    method: str = "self-critical",
    baseline: str = "likeliest",
    samples: int = 5,
    temperature: float = 1.0,
    sharpness: float = 0.005,
    gold: bool = True,
    likelihood_weight: float = 0.0,
) -> nn.Module:
    """The likelihood itself, or one whose outputs get a reward: "bleu", "chrf", "exact", "wer", "cer", or your own.

    Your own is `"package.module:function"`, `(output, reference) -> float` of two texts. Raises `RecipeError` for an
    unknown name, and as `thalweg.loss.Rewarded` does.
    """
    if reward is None:
        return likelihood
    worth = _worth(reward, "characters" if encoding.target.unit == "characters" else "words")
    return rewarded(
        likelihood, encoding, worth, name=reward, method=method, baseline=baseline, samples=samples,
        temperature=temperature, sharpness=sharpness, gold=gold, likelihood_weight=likelihood_weight,
    )  # fmt: skip


def rewarded(
    likelihood: nn.Module, encoding: PairEncoding | SpeechEncoding, worth: Worth, *, name: str = "", **knobs: Any
) -> Rewarded:
    """A likelihood of pairs with a reward `(output, reference) -> float` of two texts; `knobs` as `Rewarded` has them.

    >>> from thalweg.data import Vocabulary
    >>> from thalweg.loss import Tagging
    >>> letters = Vocabulary.fit(["ab"], "characters")
    >>> rewarded(Tagging(), PairEncoding(letters, letters), lambda output, reference: -len(output), name="brevity")
    Rewarded(
      brevity, method='self-critical', samples=5, baseline='likeliest', temperature=1.0
      (likelihood): Tagging(label_smoothing=0.0)
    )
    """
    return Rewarded(likelihood, Drawn(), Scored(encoding, worth, name or name_of(worth)), **knobs)


def objective_of(settings: Settings, likelihood: nn.Module, kind: DataKind, encoding: Any) -> nn.Module:
    """The likelihood of settings as it is trained: with the reward that [objective] says, where it says one.

    Raises `RecipeError` naming file and line: for data whose outputs are not decoded, or are no texts; for keys of a
    reward without one, or of another method than its own; for a model that begins with nothing, from which no sample
    would be worth anything; and for what only the likelihood reads, where that is not trained.
    """
    said = {key: value for key, value in beside(settings, "objective").items() if key in REWARD}
    if said.get("reward") is None:
        if others := [key for key in said if key != "reward"]:
            raise RecipeError(
                f"{settings.place('objective', others[0])}objective.{others[0]} goes with a reward, and there is none. "
                "Say which, such as objective.reward = 'bleu', or leave it out."
            )
        return likelihood
    if not kind.decodes:
        raise RecipeError(
            f"{settings.place('objective', 'reward')}a reward is for outputs that are decoded, and {kind.plural} have "
            "none. Leave objective.reward out; it is for pairs of texts."
        )
    if encoding.schema.output != "text":
        raise RecipeError(
            f"{settings.place('objective', 'reward')}a reward compares texts as they are drawn, but the targets are "
            f"data.output = '{encoding.schema.output}', to which outputs are held only where they are decoded. Leave "
            "objective.reward out."
        )
    if settings["model"].get("pretrained") is None:
        raise RecipeError(
            f"{settings.place('objective', 'reward')}a reward trains a model that is good already: what an untrained "
            "one draws is worth nothing, whatever it draws. Train by the likelihood first, then begin with that run: "
            "--start RUN, or model.pretrained = 'RUN/checkpoints/best.safetensors'."
        )
    piece: Rewarded = built(settings, "objective", partial(reward_around, likelihood, encoding), said)
    usual = inspect.signature(reward_around).parameters
    others = [key for key, method in READ_BY.items() if key in said and method != piece.method]
    if idle := next((key for key in others if said[key] != usual[key].default), None):
        raise RecipeError(
            f"{settings.place('objective', idle)}objective.{idle} is of method = '{READ_BY[idle]}', and this reward is "
            f"trained by '{piece.method}', which does not read it. Say objective.method = '{READ_BY[idle]}', or leave "
            "it out."
        )
    if not piece.likelihood_weight and (idle := _of_training_alone(settings)):
        raise RecipeError(
            f"{settings.place('objective', idle)}objective.{idle} is how the likelihood is trained, but with this "
            "reward it only judges. Say objective.likelihood_weight = 0.5 beside it, or leave it out."
        )
    return piece


def _of_training_alone(settings: Settings) -> str | None:
    """A key of [objective] that changes how a likelihood is trained, and not what it judges; None for none."""
    said = settings["objective"]
    return next((key for key in (*INPUTS, "guided") if said.get(key)), None)


def reward_metric(objective: Any) -> Mapping[str, Reward]:
    """The reward of the likeliest outputs as a metric of every epoch, where an objective has one."""
    if not isinstance(objective, Rewarded):
        return {}
    return {Rewarded.chosen_by: Reward(objective.sample, objective.score)}


def said_of(objective: Rewarded) -> dict[str, Any] | None:
    """The keys of [objective] that make such a reward; None for one that only Python can say."""
    score = objective.score
    if not isinstance(score, Scored) or not (score.name in REWARDS or ":" in score.name):
        return None
    knobs = ("method", "baseline", "samples", "temperature", "sharpness", "gold", "likelihood_weight")
    read = [name for name in knobs if READ_BY.get(name, objective.method) == objective.method]
    return {"reward": score.name, **{name: getattr(objective, name) for name in read}}


@dataclass(frozen=True)
class Drawn:
    """`thalweg.loss.reward.Sample` by `thalweg.decode`: outputs no longer than those that are judged may be."""

    def __call__(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        draws: int,
        temperature: float,
        generator: torch.Generator | None,
    ) -> list[list[Row]]:
        """So many outputs of each example; the likeliest one for 0."""
        longest: Tensor = most_tokens(inputs)
        if draws:
            found = draw(model, inputs, draws=draws, temperature=temperature, generator=generator, longest=longest)
        else:
            found = [[each] for each in greedy(model, inputs, longest=longest)]
        return [[_row(each, limit) for each in own] for own, limit in zip(found, longest.tolist(), strict=True)]


@dataclass(frozen=True)
class Scored:
    """`thalweg.loss.reward.Score` by a reward of texts, in the form that outputs have."""

    encoding: PairEncoding | SpeechEncoding = field(repr=False)
    worth: Worth
    name: str

    def __call__(self, outputs: Sequence[Row], wanted: Row) -> list[float]:
        """The reward of each output; an unknown unit of what is wanted is none that can be put out."""
        reference = self.text(wanted, LACKING)
        return [self._reward(self.text(output), reference) for output in outputs]

    def _reward(self, output: str, reference: str) -> float:
        try:
            return self.worth(output, reference)
        except ThalwegError:
            raise
        except Exception as error:
            raise RecipeError(
                f"The reward {self.name} failed on the output {_short(output)} beside the reference "
                f"{_short(reference)}: {type(error).__name__}: {error}. It is a function (output, reference) -> float "
                "of two texts, each of which may be empty. Mend it there."
            ) from error

    def text(self, tokens: Sequence[int], unknown: str = MARKS[UNKNOWN]) -> str:
        """A text, in which a character of no script stands for each unit that only the source has."""
        known = self.encoding.target.tokens
        told = {END: None, UNKNOWN: unknown}
        units = (told.get(token, known[token] if token < len(known) else chr(COPIED + token - len(known)))
                 for token in tokens)  # fmt: skip
        return self.encoding.target.join([unit for unit in units if unit is not None])

    def __repr__(self) -> str:
        return self.name


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")


def _row(hypothesis: Hypothesis, limit: int) -> Row:
    """What was chosen: `END` is no choice where an output is as long as it may be."""
    chosen = hypothesis.finished and len(hypothesis.tokens) < limit
    return (*hypothesis.tokens, END) if chosen else hypothesis.tokens


def _worth(name: str, unit: str) -> Worth:
    if name in REWARDS:
        return REWARDS[name](unit)
    if ":" not in name:
        raise RecipeError(
            f"there is no reward '{name}'.{did_you_mean(name, REWARDS)} Your own is named by its module: "
            'reward = "mypackage.rewards:mine", a function (output, reference) -> float.'
        )
    worth = imported(name)
    if not callable(worth):
        raise RecipeError(f"reward = '{name}' is {worth!r}, but it is a function (output, reference) -> float.")
    found: Worth = worth
    return found
