"""A short probe of the real training: its first steps, and some from where a run ended, by its own machinery.

It is a training of its own, of a model that the recipe makes: nothing that is given is changed. The first steps are
those of the run, bit for bit. From the weights of a run's end the first few steps are taken at the rate 0, which fills
the memory of an optimizer (momentum, second moments) and shows how far the gradients of single batches lie apart.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from math import isfinite, nan
from statistics import fmean
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from thalweg.core.beginning import without_weights
from thalweg.core.device import resolve_device
from thalweg.core.door import no_type_check
from thalweg.core.errors import RecipeError
from thalweg.core.nest import Nest, count_examples
from thalweg.core.randomness import seed_everything, untouched
from thalweg.core.threads import fitting_threads
from thalweg.diagnosis.looking import Looking
from thalweg.diagnosis.stretch import Probe, ProbedStep, Stretch
from thalweg.measure.propagation import LayerSignal
from thalweg.training import Outcome, Recipe, Run
from thalweg.training.build import Training, prepare
from thalweg.training.loop import batches, steps
from thalweg.training.own_loop import run_own_loop
from thalweg.training.rate import Rate
from thalweg.training.tally import RunningMean

SHARE = 0.1
"""The first stretch is at most so large a share of the steps of a training, the last one half of that."""
FEWEST, RESTING = 4, 6
"""No stretch has fewer steps; so many more are taken at the rate 0 before the last one."""
WHOLE = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0)
SINGLE = (0.0, 0.1, 1.0)
POINTS = 4


@no_type_check
def probe(recipe: Recipe, run: Run | None = None, *, steps: int = 40, device: str | torch.device = "auto") -> Probe:
    """Take at most `steps` steps of a recipe's training, and half as many from the last weights of a run of it.

    A training of few steps is probed by fewer: the probe takes about a quarter of one training, at most.

    >>> import thalweg
    >>> seen = probe(thalweg.cases.get("rate-too-low"))
    >>> len(seen.begin.steps), seen.end is None, seen.begin.whole.best()[0]
    (40, True, 100.0)

    Raises `RecipeError` for a wrong number of steps or what is no recipe, and what training raises for a recipe that
    cannot be trained.
    """
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"probe was given {type(recipe).__name__}, but it takes steps of a thalweg.Recipe.")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < FEWEST:
        raise RecipeError(f"steps={steps!r}, but a probe takes a whole number of steps, at least {FEWEST}.")
    began = perf_counter()
    with untouched():
        training = prepare(_plain(recipe), resolve_device(device))
        with fitting_threads(training.work):
            return _probed(recipe, run, training, steps, began)


def _plain(recipe: Recipe) -> Recipe:
    """The recipe without what the steps do not depend on."""
    return recipe.but(stopping=None, metrics={}, compile=False, channels_last=False)


def _probed(recipe: Recipe, run: Run | None, training: Training, most: int, began: float) -> Probe:
    total = training.moment.steps
    number = most if total is None else max(FEWEST, min(most, int(SHARE * total)))
    looking = Looking(training, few=number < most)
    first, penalty = looking.loss(), looking.penalty()
    anew = _untrained(recipe, training.device, looking.few)
    lengths = looking.lengths()
    begin = _stretch(looking, number)
    end, cost, ended = None, looking.cost, lengths
    if run is not None and run.final is not None and run.status is not Outcome.FAILED:
        other = prepare(_plain(recipe), training.device)
        if _adopts(other, run):
            looking = Looking(other, few=number < most)
            ended = looking.lengths()
            end = _stretch(looking, _late(number, looking, total), resting=True)
            cost += looking.cost
    names = tuple(looking.names)
    pairs = tuple(zip(lengths, ended, strict=True))
    return Probe(names, begin, end, first, penalty, total, pairs, cost, perf_counter() - began, anew)


def _untrained(recipe: Recipe, device: torch.device, few: bool) -> float | None:
    """The loss of fresh batches of a model that begins anew; None where the recipe's own does."""
    anew = without_weights(recipe.model)
    if anew is recipe.model:
        return None
    return Looking(prepare(_plain(recipe).but(model=anew), device), few=few).loss()


def _late(number: int, looking: Looking, total: int | None) -> int:
    """The steps of the last stretch: of small batches more, for their noise takes many to be seen."""
    size = max(count_examples(looking.fresh[0]), 1)
    return max(FEWEST, number // 2, min(int(SHARE * (total or 0)) // 2, number * 32 // (2 * size)))


def _adopts(training: Training, run: Run) -> bool:
    """Go on from the last weights of a run, at its last rate; whether they fit and are finite."""
    with suppress(Exception):  # an average of weights may be kept in another form
        training.model.load_state_dict(run.last.state_dict())
        if not all(bool(weight.isfinite().all()) for weight in training.model.parameters()):
            return False
        groups = training.optimizer.param_groups
        first, last = float(groups[0]["lr"]), run.history[-1]["learning_rate"] if run.history else None
        if last is not None and first > 0:
            for group in groups:
                group["lr"] = float(group["lr"]) * last / first
        training.rate = Rate(training.optimizer)
        training.position.epoch = training.recipe.epochs + 1
        return True
    return False


@dataclass
class Recorder:
    """Notes the steps of a stretch: the weights that each begins with, its loss and gradient, how it moves them."""

    looking: Looking
    number: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    gradient: list[Tensor] | None = None
    last: list[Tensor] = field(default_factory=list)
    pairs: list[tuple[list[Tensor], list[Tensor]]] = field(default_factory=list)
    mean: list[Tensor] = field(default_factory=list)
    counted: int = 0

    def gradients(self) -> list[Tensor] | None:
        """The gradients that are in place; None where there are none at all."""
        weights = self.looking.weights
        if all(weight.grad is None for weight in weights):
            return None
        return [torch.zeros_like(w) if w.grad is None else w.grad.detach().to_dense().clone() for w in weights]

    def keep(self) -> None:
        """Keep the weights that a step begins with."""
        self.last = self.looking.copy()

    def note(self, loss: float, gradient: list[Tensor] | None) -> None:
        """Note a step by its loss and its gradient."""
        turn, lengths = nan, list[float]()
        if gradient is not None:
            lengths = self.looking.by_layer(gradient)
            turn = nan if self.gradient is None else _cosine(self.gradient, gradient)
        self.gradient = gradient
        norm = sum(length**2 for length in lengths) ** 0.5 if lengths else nan
        row = {"loss": loss, "gradient_norm": norm, "learning_rate": self.looking.training.rate.used, "turn": turn}
        self.rows.append(row | {"gradients": tuple(lengths), "moves": ()})
        self.looking.cost += 1

    def ended(self) -> bool:
        """Whether there are enough steps, or the last one had no finite loss."""
        return len(self.rows) >= self.number or (bool(self.rows) and not isfinite(self.rows[-1]["loss"]))

    @torch.no_grad()
    def moved(self) -> None:
        """Note by how much the step has moved the weights; of the later half keep their mean, and some steps whole."""
        now = [weight.detach() for weight in self.looking.weights]
        moves = self.looking.by_layer(list(torch._foreach_sub(now, self.last)))
        lengths = self.looking.by_layer(self.last)
        self.rows[-1]["moves"] = tuple(m / length if length else nan for m, length in zip(moves, lengths, strict=True))
        left, stride = self.number - len(self.rows), max(1, self.number // 2 // POINTS)
        if left <= self.number // 2:
            self.counted += 1
            self.mean = self.mean or [torch.zeros_like(weight) for weight in now]
            torch._foreach_lerp_(self.mean, now, 1 / self.counted)
            if left % stride == 0 and left // stride < (2 if self.looking.few else POINTS):
                self.pairs.append((self.last, self.looking.copy()))


def _cosine(first: list[Tensor], second: list[Tensor]) -> float:
    dot = float(sum(float((a * b).sum()) for a, b in zip(first, second, strict=True)))
    lengths = [sum(float(part.square().sum()) for part in whole) ** 0.5 for whole in (first, second)]
    return dot / (lengths[0] * lengths[1]) if lengths[0] * lengths[1] > 0 else nan


def _stretch(looking: Looking, number: int, resting: bool = False) -> Stretch:
    """Take the steps, and look at the layers and along the moves before and after them."""
    before = looking.signals()
    start = looking.copy()
    recorder, noise = Recorder(looking, number), nan
    go = _own_steps if looking.training.recipe.loop is not None else _steps
    if resting and looking.training.recipe.loop is None:
        noise = _rest(looking)
    go(looking, recorder)
    steps = tuple(ProbedStep(**row) for row in recorder.rows)
    own = looking.copy()
    if not steps or not recorder.pairs or not all(isfinite(step.loss) for step in steps) or not _finite(own):
        return Stretch(steps, before, _surely(looking), noise=noise)
    whole = looking.along(start, own, WHOLE)
    single = tuple(looking.along(*pair, SINGLE) for pair in recorder.pairs)
    iterate = fmean(along.losses[-1] for along in single)
    looking.put(recorder.mean)
    average = looking.loss()
    looking.put(own)
    trained, judged = looking.loss(), looking.loss(evaluated=True)
    dropped, penalty = looking.loss(evaluated=True, dropped=True), looking.penalty()
    after = _surely(looking)
    return Stretch(steps, before, after, whole, single, iterate, average, noise, trained, judged, dropped, penalty)


def _surely(looking: Looking) -> tuple[LayerSignal, ...]:
    try:
        return looking.signals()
    except Exception:  # weights that are not finite may be refused by a user's own code
        return ()


def _finite(weights: list[Tensor]) -> bool:
    return all(bool(weight.isfinite().all()) for weight in weights)


def _rest(looking: Looking) -> float:
    """Steps at the rate 0; gives the noise of the gradient, the variance of a batch's by the square of their mean."""
    groups = looking.training.optimizer.param_groups
    rates, own = [group["lr"] for group in groups], looking.copy()
    recorder = Recorder(looking, RESTING)
    seen: list[list[Tensor]] = []
    for group in groups:
        group["lr"] = 0.0
    _steps(looking, recorder, lambda: seen.append(recorder.gradient or []))
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
    looking.put(own)  # a decay that is coupled to nothing may have moved them
    if len(seen) < 3 or not seen[0]:
        return nan
    mean = [torch.stack(parts).mean(0) for parts in zip(*seen, strict=True)]
    square = sum(float(part.double().square().sum()) for part in mean)
    spread = sum(float((a - b).double().square().sum()) for whole in seen for a, b in zip(whole, mean, strict=True))
    variance = spread / (len(seen) - 1)
    true = square - variance / len(seen)
    return variance / true if true > 0 else float("inf")


def _steps(looking: Looking, recorder: Recorder, each: Callable[[], Any] = lambda: None) -> None:
    """Take the recorder's number of steps, as the loop does."""
    training = looking.training
    for epoch in count(training.position.epoch):
        training.position.batch, training.position.epoch = 0, epoch
        seed_everything(training.recipe.seed, "noise", epoch)
        taken, mean = len(recorder.rows), RunningMean(training.device)
        for minimized, _ in steps(training, epoch, mean, pause_before_step=True):
            if recorder.rows:
                recorder.moved()
            if recorder.ended():
                return
            recorder.keep()
            recorder.note(float(minimized.detach()), recorder.gradients())
            each()
            if not isfinite(recorder.rows[-1]["loss"]):
                return
        if len(recorder.rows) == taken:
            return
        training.rate.after_epoch({"train_loss": mean.value(), "validation_loss": None})


def _own_steps(looking: Looking, recorder: Recorder) -> None:
    """The same through a loop of the user's own, which ends its epoch when it is given no more batches."""
    training = looking.training
    caught: list[list[Tensor] | None] = [None]
    hook = getattr(training.optimizer, "register_step_pre_hook", None)
    handle = None if hook is None else hook(lambda *_: caught.__setitem__(0, recorder.gradients()))

    def drawn(epoch: int, mean: RunningMean) -> Iterator[Nest]:
        total, weight = 0.0, 0.0
        for batch in batches(training, epoch):
            recorder.keep()
            yield batch
            asked = float(mean.weight) - weight
            recorder.note((float(mean.total) - total) / asked if asked else nan, caught[0])
            recorder.moved()
            total, weight, caught[0] = float(mean.total), float(mean.weight), None
            if recorder.ended():
                return

    try:
        for epoch in count(training.position.epoch):
            seed_everything(training.recipe.seed, "noise", epoch)
            taken, mean = len(recorder.rows), RunningMean(training.device)
            run_own_loop(training, epoch, drawn(epoch, mean), mean)
            if recorder.ended() or len(recorder.rows) == taken:
                return
            training.rate.after_epoch({"train_loss": mean.value(), "validation_loss": None})
    finally:
        if handle is not None:
            handle.remove()
