r"""Reward in place of a loss that cannot be differentiated: the decoder is an agent that chooses token by token.

The risk is what is minimized, $1 - \mathbb{E}_{y \sim p(\cdot \mid x)}\, r(y)$, for a reward $r$ such as BLEU. With
samples $y_1, \dots, y_K$ and the likeliest output $\hat y$, which is what decodes, self-critical training (Rennie et
al., "Self-Critical Sequence Training for Image Captioning", 2017, equation 8) follows REINFORCE's estimate (Williams
1992) of its gradient,

$$ -\frac{1}{K} \sum_k \big(r(y_k) - r(\hat y)\big) \nabla \log p(y_k \mid x). $$

Or the baseline of each sample is the mean reward of the `others` (Kool et al., "Buy 4 REINFORCE Samples, Get a Baseline
for Free!", 2019; Luo, "A Better Variant of Self-Critical Sequence Training", 2020), which varies less: the likeliest
output is worth more than nearly all samples, so that against it these are pushed down one and all.

Minimum-risk training (Shen et al., "Minimum Risk Training for Neural Machine Translation", 2016, equations 11 to 13)
takes the distinct samples, and the gold output where that is asked for, as the subset $S$ of all outputs, and has

$$ \sum_{y \in S} Q(y)\, (1 - r(y)), \qquad Q(y) = p(y \mid x)^\alpha \Big/ \sum_{y' \in S} p(y' \mid x)^\alpha. $$

The agent is the decoder as it decodes: without dropout, and never choosing `PADDING` or `START`.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.evaluating import evaluating
from thalweg.core.nest import describe
from thalweg.core.notices import notice
from thalweg.core.objective import Losses, Moment, name_of, pair
from thalweg.core.tokens import NO_TARGET
from thalweg.loss.risk import Candidates, Row, minimum_risk, others, self_critical

Sample = Callable[[nn.Module, Mapping[str, Any], int, float, torch.Generator | None], list[list[Row]]]
"""`(model, inputs, draws, temperature, generator)`: so many outputs for each example; 0 draws are the likeliest one."""
Score = Callable[[Sequence[Row], Row], list[float]]
"""`(outputs, wanted)`: the reward of each output of one example."""


class Rewarded(nn.Module):
    r"""A likelihood that is judged by, and a reward that is trained for: an objective over batches `(x, y)`.

    `value` is $(1 - w) \cdot \text{risk} + w \cdot \text{likelihood}$ for the `likelihood_weight` $w$, one for each
    example; the likelihood's mean over all positions is kept. Where it judges it is the likelihood. `sample` and
    `score` are as `Sample` and `Score` say. `method` is "self-critical" or "minimum-risk", of `samples` outputs for
    each example. The policy of the first is the model's at `temperature`; of the second that is what the subset is
    drawn at, `sharpness` is its $\alpha$, and `gold` puts the wanted output among it. Its numbers come from
    `moment.generator`. The gradient is made by one pass over the distinct samples that can change something.

    >>> from torch.nn.functional import pad
    >>> from thalweg.loss import Tagging
    >>> class Coin(nn.Module):  # heads (4) or tails (5), then END
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.heads = nn.Parameter(torch.zeros(()))
    ...     def forward(self, source, prefix):
    ...         first = torch.stack([self.heads, torch.zeros(())]).expand(len(prefix), 1, 2)
    ...         return pad(first, (4, 0), value=-torch.inf)
    >>> def sample(model, inputs, draws, temperature, generator):
    ...     return [[(4,), (5,)] if draws else [(5,)]]
    >>> def heads(outputs, wanted):
    ...     return [float(4 in output) for output in outputs]
    >>> model, batch = Coin(), ({"source": torch.zeros(1), "prefix": torch.tensor([[2]])}, torch.tensor([[4]]))
    >>> loss = Rewarded(Tagging(), sample, heads, samples=2)(model, batch, Moment(training=True)).mean()
    >>> loss.backward()  # half of the samples: a reward of 1 over the likeliest's 0, of which log p rises by 1 - 1/2
    >>> loss.item(), model.heads.grad
    (0.5, tensor(-0.2500))

    Raises `RecipeError` for knobs out of their range, batches of another form, and rewards that are not finite.
    """

    thalweg_objective = True
    chosen_by = "reward"
    """The metric by which the best epoch is chosen, the largest being the best: the likelihood is not trained."""

    def __init__(
        self,
        likelihood: nn.Module,
        sample: Sample,
        score: Score,
        *,
        method: str = "self-critical",
        baseline: str = "likeliest",
        samples: int = 5,
        temperature: float = 1.0,
        sharpness: float = 0.005,
        gold: bool = True,
        likelihood_weight: float = 0.0,
    ) -> None:
        super().__init__()
        _check_choice("method", method, METHODS)
        _check_choice("baseline", baseline, BASELINES)
        _check_samples(samples, baseline, method)
        _check_numbers(temperature=temperature, sharpness=sharpness, likelihood_weight=likelihood_weight)
        self.likelihood, self.sample, self.score = likelihood, sample, score
        self.method, self.baseline, self.samples, self.temperature = method, baseline, samples, temperature
        self.sharpness, self.gold, self.likelihood_weight = sharpness, gold, likelihood_weight
        self._seen = Seen()

    def forward(self, model: nn.Module, batch: Any, moment: Moment) -> Losses:
        if not moment.training or moment.epoch != self._seen.epoch:
            self._seen.tell()
        if not moment.training:
            judged: Losses = self.likelihood(model, batch, moment)
            return judged
        x, y = pair(batch)
        self._seen.epoch = moment.epoch
        risk = self.risk(model, x, y, moment.generator)
        if moment.step + 1 == moment.steps:
            self._seen.tell()
        if not self.likelihood_weight:
            return Losses(risk, weight=torch.ones_like(risk))
        value, weight, _ = self.likelihood(model, batch, moment)
        counted = weight / weight.mean() if isinstance(weight, Tensor) else 1.0
        mixed = (1 - self.likelihood_weight) * risk + self.likelihood_weight * counted * value
        return Losses(mixed, weight=torch.ones_like(mixed))

    def of_output(self, output: Any, y: Any, moment: Moment) -> Losses:
        """The likelihood of a batch whose output is known; no reward is, where nothing is drawn."""
        likelihood: Any = self.likelihood
        losses: Losses = likelihood.of_output(output, y, moment)
        return losses

    @property
    def guided(self) -> float:
        """How far the likelihood guides attention, where it is trained at all."""
        return float(getattr(self.likelihood, "guided", 0.0)) if self.likelihood_weight else 0.0

    @property
    def encoding(self) -> Any:
        """What `score` reads outputs by: of tokens that are numbered otherwise its rewards would be those of other
        outputs. None where it says nothing of it.
        """
        return getattr(self.score, "encoding", None)

    def risk(
        self, model: nn.Module, x: Any, y: Any, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """1 minus the expected reward of each example, as it is estimated; its gradient is the method's."""
        inputs, wanted = _read(x, y)
        with as_decoded(model):
            drawn = self.sample(model, inputs, self.samples, self.temperature, generator)
            if self.method == "self-critical":
                likeliest = None
                if self.baseline == "likeliest":
                    likeliest = [rows[0] for rows in self.sample(model, inputs, 0, self.temperature, generator)]
                found, beside = self._scored(drawn, wanted, likeliest, y.device)
                baseline = others(found) if likeliest is None else beside[found.examples]
                return self_critical(model, inputs, found, baseline, self.temperature)
            among = wanted if self.gold else None
            return minimum_risk(model, inputs, self._scored(drawn, wanted, among, y.device)[0], self.sharpness)

    def _scored(
        self, drawn: list[list[Row]], wanted: list[Row], beside: list[Row] | None, device: torch.device
    ) -> tuple[Candidates, Float[Tensor, " batch"]]:
        """The distinct outputs of each example, one that stands `beside` them too; and that one's reward."""
        rows: list[Row] = []
        owners, rewards, likely = [], [], []
        counts: list[int] = []
        for example, own in enumerate(drawn):
            counted = Counter(own)
            if beside is not None:
                counted[beside[example]] += 0
            found = _rewards(self.score, list(counted), wanted[example])
            self._seen.add(found)
            rows += counted
            owners += [example] * len(counted)
            rewards += found
            counts += counted.values()
            likely.append(0.0 if beside is None else found[list(counted).index(beside[example])])
        kind = torch.get_default_dtype()
        numbers = [torch.tensor(each, dtype=kind, device=device) for each in (rewards, counts, likely)]
        return Candidates(rows, torch.tensor(owners, device=device), *numbers[:2]), numbers[2]

    def extra_repr(self) -> str:
        beside = (
            f"baseline={self.baseline!r}, temperature={self.temperature}"
            if self.method == "self-critical"
            else f"temperature={self.temperature}, sharpness={self.sharpness}, gold={self.gold}"
        )
        weight = f", likelihood_weight={self.likelihood_weight}" if self.likelihood_weight else ""
        return f"{self.score!r}, method={self.method!r}, samples={self.samples}, {beside}{weight}"


class Seen:
    """Whether the rewards of an epoch told any outputs of a source apart; what would learn nothing is said, once.

    >>> from thalweg.core.notices import collecting
    >>> seen = Seen()
    >>> seen.epoch = 1
    >>> seen.add([0.3, 0.3])
    >>> with collecting() as notices:
    ...     seen.tell()
    >>> notices[0][:70]
    'For a whole epoch the reward was the same, 0.3, for all outputs of all'
    """

    def __init__(self) -> None:
        self.epoch, self.told = 0, False
        self._clear()

    def _clear(self) -> None:
        self.low, self.high, self.apart = math.inf, -math.inf, False

    def add(self, rewards: Sequence[float]) -> None:
        """The rewards of the outputs of one example, between which its gradient chooses."""
        low, high = min(rewards), max(rewards)
        self.low, self.high, self.apart = min(low, self.low), max(high, self.high), self.apart or low != high

    def tell(self) -> None:
        """Say it at the end of an epoch, and begin another."""
        if self.epoch and not self.apart and self.low <= self.high and not self.told:
            self.told = True
            same = f"{self.low:.4g}, for all outputs of all sources"
            each = f"for all outputs of a source ({self.low:.4g} to {self.high:.4g})"
            notice(
                f"For a whole epoch the reward was the same, {same if self.low == self.high else each}: it tells none "
                "from another, and nothing is learnt from it. See that it can be larger for one output than for "
                "another; where it can, draw more of them (objective.samples) at a higher objective.temperature."
            )
        self._clear()


METHODS = ("self-critical", "minimum-risk")
BASELINES = ("likeliest", "others")


@contextmanager
def as_decoded(model: nn.Module) -> Iterator[None]:
    """With all of the model in evaluation mode, as it decodes; recurrent layers without dropout, and gradients kept.

    Those cannot be differentiated in evaluation mode on a GPU.

    >>> model = nn.Sequential(nn.Dropout(0.5), nn.GRU(3, 3, 2, dropout=0.5))
    >>> with as_decoded(model):
    ...     model[0].training, model[1].training, model[1].dropout
    (False, True, 0.0)
    >>> model[0].training, model[1].dropout
    (True, 0.5)
    """
    with evaluating(model) as training:
        dropped = [(part, part.dropout) for part in training if isinstance(part, nn.RNNBase)]
        for layers, _ in dropped:
            layers.training, layers.dropout = True, 0.0
        try:
            yield
        finally:
            for layers, share in dropped:
                layers.dropout = share


@dataclass(frozen=True, repr=False)
class Reward:
    """The reward of the likeliest output of each example, as a metric: an objective over batches `(x, y)`.

    >>> found = Reward(lambda model, inputs, *_: [[(4, 3)]], lambda outputs, wanted: [float(wanted == outputs[0])])
    >>> found(nn.Identity(), ({"source": torch.zeros(1)}, torch.tensor([[4, 3, -100]])), Moment()).value
    tensor([1.])
    """

    sample: Sample
    score: Score
    thalweg_objective: ClassVar[bool] = True

    def __call__(self, model: nn.Module, batch: Any, moment: Moment) -> Losses:
        x, y = pair(batch)
        inputs, wanted = _read(x, y)
        likeliest = self.sample(model, inputs, 0, 1.0, None)
        found = [_rewards(self.score, rows[:1], own)[0] for rows, own in zip(likeliest, wanted, strict=True)]
        return Losses(torch.tensor(found, dtype=torch.get_default_dtype(), device=y.device))

    def __repr__(self) -> str:
        return f"Reward({self.score!r})"


def _read(x: Any, y: Any) -> tuple[dict[str, Any], list[Row]]:
    """The inputs that are decoded, and the rows that are wanted."""
    if not isinstance(x, Mapping) or not isinstance(y, Tensor) or y.dim() != 2 or y.is_floating_point():
        raise RecipeError(
            f"Rewarded: x is {describe(x)} and y {describe(y)}, but x is a dict with the inputs of model.encode and "
            "prefix, and y the wanted tokens (batch, length), each with its END. Give batches as those of pairs are."
        )
    inputs = {name: part for name, part in x.items() if name != "prefix"}
    return inputs, [tuple(token for token in row if token != NO_TARGET) for row in y.tolist()]


def _rewards(score: Score, outputs: list[Row], wanted: Row) -> list[float]:
    """The rewards that a score gives, which are finite numbers, or an error."""
    found = score(outputs, wanted)
    for reward in found:
        if not isinstance(reward, int | float) or not math.isfinite(reward):
            raise RecipeError(
                f"The reward {getattr(score, 'name', None) or name_of(score)} gave {reward!r}, but it is a finite "
                "number, larger for a better output. Return a float for every output, the empty one too."
            )
    return found


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise RecipeError(
            f"Rewarded: {name} is {value!r}, but it is one of {', '.join(map(repr, choices))}."
            f"{did_you_mean(value, choices)}"
        )


def _check_samples(samples: int, baseline: str, method: str) -> None:
    fewest = 2 if (method, baseline) == ("self-critical", "others") else 1
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < fewest:
        raise RecipeError(
            f"Rewarded: samples is {samples!r}, but it is how many outputs are drawn for each example, a whole number "
            f"of at least {fewest}{', one and others beside it' if fewest == 2 else ''}. Give for instance samples=5."
        )


def _check_numbers(**numbers: float) -> None:
    for name, value in numbers.items():
        fine = 0 <= value < 1 if name == "likelihood_weight" else 0 < value < math.inf
        if not fine:
            due = "at least 0 and below 1: all likelihood needs no reward" if "weight" in name else "finite and above 0"
            raise RecipeError(f"Rewarded: {name} is {value!r}, but it must be {due}. Give for instance {name}=0.5.")
