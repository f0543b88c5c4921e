r"""Scheduled sampling: in training a decoder is given, beside gold tokens, wrong ones and its own.

A decoder that is trained after gold prefixes alone has never been where its own mistakes lead (exposure bias). With

$$ u_t = y_t\ \text{(probability}\ \epsilon_i),\ \text{else}\ \hat y_t \sim p(\cdot \mid x, u_{<t}), \qquad
   L = -\sum_t \log p(y_t \mid x, u_{<t}) $$

it is, the more so the longer it trains: $\epsilon_i$ decays (`thalweg.loss.decays`). What is replaced, and by what, is
in `thalweg.loss.replaced_inputs`. The targets stay the gold ones, so that after a token left out or added they are not
what should come next: the likelihood is no longer what is maximized (Huszár, "How (not) to Train your Generative
Model", 2015). What judges is the plain likelihood.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.core.decoder import is_recurrent
from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.nest import describe
from thalweg.core.objective import Losses, MarkedObjective, Moment, OfOutput, as_objective, name_of, pair
from thalweg.core.signature import defaults_of
from thalweg.core.tokens import MARKS
from thalweg.loss.decays import DECAYS
from thalweg.loss.replaced_inputs import Replacing, in_two_passes, step_by_step


class ScheduledSampling(nn.Module):
    """An objective over pairs, such as `Tagging`, whose decoder is not always given the gold prefix in training.

    `wrong_inputs` is the share of tokens that are wrong on purpose: others of the batch, or with `confusable` what the
    model takes the gold ones for. `own_inputs` is how the probability of gold inputs decays, "linear", "exponential" or
    "inverse-sigmoid", from 1 to `least_gold` at the last step; the others are the model's own, drawn from the
    `own_top_k` likeliest (1: the likeliest; None: from all). `own_steps` is whether the model is asked step by step,
    or in two passes; None leaves that to the model: step by step where it is recurrent.

    `among` are the tokens that are replaced, by one another alone; None: all are. Labels of brackets are, so that what
    is fed is the beginning of a tree wherever the gold prefix is.

    Batches are `(x, y)` with a `prefix` in x, which begins with `START`. All is drawn from `moment.generator`. Where it
    judges, it is the objective itself.

    >>> from thalweg.loss import Tagging
    >>> ScheduledSampling(Tagging(), wrong_inputs=0.1, own_inputs="linear")
    ScheduledSampling(
      wrong_inputs=0.1, own_inputs=linear
      (loss): Tagging(label_smoothing=0.0)
    )

    Raises `RecipeError` for settings out of their range, or that nothing reads; for an objective that is not one of
    the output alone; for batches without a prefix; for a stream of unknown length, over which nothing can decay; and
    step by step for a model that cannot be decoded from.
    """

    thalweg_objective = True

    def __init__(
        self,
        loss: Any,
        *,
        wrong_inputs: float = 0.0,
        confusable: bool = False,
        own_inputs: str | None = None,
        least_gold: float = 0.25,
        own_top_k: int | None = None,
        own_steps: bool | None = None,
        among: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        form = as_objective(loss)
        if not isinstance(form, MarkedObjective) or not isinstance(loss, OfOutput):
            raise RecipeError(
                f"ScheduledSampling is for an objective (model, batch, moment) that also has of_output, not "
                f"{name_of(loss)}. Give thalweg.loss.Tagging(...), the likelihood of sequences."
            )
        self.loss: Any = loss
        self.wrong_inputs, self.confusable = wrong_inputs, confusable
        self.own_inputs, self.least_gold = own_inputs, least_gold
        self.own_top_k, self.own_steps = own_top_k, own_steps
        self.among = None if among is None else list(among)
        _check(self)

    def forward(self, model: nn.Module, batch: Any, moment: Moment) -> Losses:
        if moment.training:
            x, y = pair(batch)
            batch = {**x, "prefix": self.fed(model, x, moment)} if _has_prefix(x) else _refused(x), y
        losses: Losses = self.loss(model, batch, moment)
        return losses

    def fed(self, model: nn.Module, x: Mapping[str, Any], moment: Moment) -> Tensor:
        """The prefix that the model is given at this moment of training."""
        own, prefix = 1 - self.gold(moment), x["prefix"]
        if not (self.wrong_inputs or own):
            return prefix
        replacing = Replacing.of(
            prefix,
            self.wrong_inputs,
            own,
            confusable=self.confusable,
            top_k=self.own_top_k,
            among=None if self.among is None else torch.tensor(self.among, device=prefix.device),
            generator=moment.generator,
        )
        if not replacing.asks:
            return replacing(slice(None))
        by_steps = is_recurrent(model) if self.own_steps is None else self.own_steps
        return (step_by_step if by_steps else in_two_passes)(model, x, replacing)

    def gold(self, moment: Moment) -> float:
        """The probability that an input is no token of the model's own.

        >>> from thalweg.loss import Tagging
        >>> ScheduledSampling(Tagging(), own_inputs="linear", least_gold=0.0).gold(Moment(step=30, steps=120))
        0.75
        """
        if self.own_inputs is None or (moment.steps is None and moment.step == 0):
            return 1.0
        if moment.steps is None:
            raise RecipeError(
                f'own_inputs="{self.own_inputs}" decays over the steps of a training, but how many there will be is '
                "not known: the data are a stream. Give data that have a length, or wrong_inputs alone."
            )
        return DECAYS[self.own_inputs](moment.step, moment.steps, self.least_gold)

    def of_output(self, output: Any, y: Any, moment: Moment) -> Losses:
        """The objective's own value of a batch whose output is known."""
        losses: Losses = self.loss.of_output(output, y, moment)
        return losses

    @property
    def class_weights(self) -> Tensor | None:
        """Those of the objective."""
        return getattr(self.loss, "class_weights", None)

    @property
    def guided(self) -> float:
        """How far the objective guides attention."""
        return float(getattr(self.loss, "guided", 0.0))

    def said(self) -> dict[str, Any]:
        """The settings that are not the usual ones; what is replaced goes by the data.

        >>> from thalweg.loss import Tagging
        >>> ScheduledSampling(Tagging(), wrong_inputs=0.1, confusable=True).said()
        {'wrong_inputs': 0.1, 'confusable': True}
        """
        return {name: value for name, usual in USUAL.items() if (value := getattr(self, name)) != usual}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.said().items())


USUAL: dict[str, Any] = {name: value for name, value in defaults_of(ScheduledSampling).items() if name != "among"}
"""What a setting is where nothing is said."""


def _has_prefix(x: Any) -> bool:
    return isinstance(x, Mapping) and isinstance(x.get("prefix"), Tensor)


def _refused(x: Any) -> Any:
    raise RecipeError(
        f"Wrong and own inputs are for models that put out a sequence, but the inputs of a batch are {describe(x)} "
        "without a prefix of tokens. Give {'source': ..., 'prefix': ...} as thalweg.data.PairSource does, or leave "
        "wrong_inputs and own_inputs out."
    )


def _check(of: ScheduledSampling) -> None:
    if not (isinstance(of.wrong_inputs, int | float) and 0 <= of.wrong_inputs <= 1):
        raise RecipeError(
            f"wrong_inputs is {of.wrong_inputs!r}, but it is a share of the tokens, from 0 to 1. Give for instance 0.1."
        )
    if of.own_inputs is not None and of.own_inputs not in DECAYS:
        raise RecipeError(
            f"own_inputs is {of.own_inputs!r}, but it is how gold inputs decay: {', '.join(DECAYS)}."
            f"{did_you_mean(str(of.own_inputs), DECAYS)}"
        )
    if not (isinstance(of.least_gold, int | float) and 0 <= of.least_gold < 1):
        raise RecipeError(
            f"least_gold is {of.least_gold!r}, but it is the probability of gold inputs at the end, at least 0 and "
            "below 1. Give for instance 0.25."
        )
    if of.least_gold == 0 and of.own_inputs not in (None, "linear"):
        raise RecipeError(
            f"least_gold is 0, which a decay that is {of.own_inputs} never reaches. Give for instance 0.05, or "
            'own_inputs="linear".'
        )
    if of.own_top_k is not None and (type(of.own_top_k) is not int or of.own_top_k < 1):
        raise RecipeError(
            f"own_top_k is {of.own_top_k!r}, but it is how many of the likeliest tokens own inputs are drawn from, at "
            "least 1. Give 1 for the likeliest itself, or None for all."
        )
    if of.among is not None and (not of.among or min(of.among) < len(MARKS)):
        raise RecipeError(
            f"among is {of.among}, but it is the tokens that are replaced by one another: at least one, from "
            f"{len(MARKS)} on, behind the marks. Give None to replace any."
        )
    _check_use(of)


def _check_use(of: ScheduledSampling) -> None:
    """Refuse a setting that nothing reads, for who says it means something else."""
    idle = {
        "confusable": of.confusable and not of.wrong_inputs,
        "least_gold": of.least_gold != USUAL["least_gold"] and of.own_inputs is None,
        "own_top_k": of.own_top_k is not None and of.own_inputs is None,
        "own_steps": of.own_steps is not None and of.own_inputs is None and not of.confusable,
    }
    for name in (name for name, unread in idle.items() if unread):
        beside = "wrong_inputs=0.1" if name == "confusable" else 'own_inputs="linear"'
        raise RecipeError(f"{name} is said, but nothing reads it. Say {beside} beside it, or leave {name} out.")
