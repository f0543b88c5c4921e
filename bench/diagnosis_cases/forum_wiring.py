"""Faults of wiring as they are asked about: masks, axes, copies, losses that do not mean what the model says."""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

import thalweg
from diagnosis_cases import forum_data as made
from diagnosis_cases import forum_nets as own
from diagnosis_cases import nets, tables
from diagnosis_cases.case import planted
from diagnosis_cases.forum_setups import (
    bikes_poisson,
    drawings_of_several,
    grades_by_sgd,
    load_of_the_next_hour,
    machines_by_experts,
    melodies_composed,
    preferred_offer,
    same_digit_siamese,
    sensors_variational,
    spirals_by_a_deep_network,
    tickets_of_two_tasks,
    visits_of_patients,
    winds_with_their_spread,
    words_tagged,
)
from diagnosis_cases.setups import echo_elman
from thalweg import Recipe
from thalweg.diagnosis import Cause

WIRING = Cause.WIRING


@planted(WIRING, machines_by_experts)
def the_gate_divides_among_examples() -> Recipe:
    """The softmax of the gate runs over the batch: a large share of an expert is what others left of it."""

    class Divided(own.Experts):
        axis = 0

    return machines_by_experts().but(model=Divided)


@planted(WIRING, melodies_composed, also=(Cause.DATA, Cause.MISMATCH), on="test")
def the_next_note_is_seen() -> Recipe:
    """The causal mask is missing: the model copies the next note, which is not there when it composes."""

    class Seeing(own.Composer):
        causal = False

    return melodies_composed().but(model=Seeing)


@planted(WIRING, visits_of_patients, also=(Cause.MODEL_BIAS,))
def the_state_after_the_padding() -> Recipe:
    """The answer is read after forty more steps of padding, however many visits there were."""

    class Late(own.VisitReader):
        def last(self, states: Tensor, lengths: Tensor) -> Tensor:
            return states[:, -1]

        def forward(self, visits: Tensor, lengths: Tensor) -> Tensor:
            return super().forward(F.pad(visits, (0, 0, 0, 40)), lengths)

    return visits_of_patients().but(model=Late)


@planted(WIRING, echo_elman)
def the_state_of_the_batch_before() -> Recipe:
    """The hidden state is kept from batch to batch, though the sequences have nothing to do with each other."""

    class Keeping(nets.Stepwise):
        state: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.state is not None and self.state.shape[1] != len(x):
                self.state = None
            states, state = self.rnn(x, self.state)
            self.state = 3 * state.detach()
            return self.head(states)

    return echo_elman().but(model=partial(Keeping, nn.RNN, 1, 32, 1))


@planted(WIRING, same_digit_siamese, also=(Cause.DATA,))
def same_and_different_exchanged() -> Recipe:
    """The loss takes 1 for different where the data say 1 for the same, and a distance cannot be negative."""

    class Exchanged(nn.Module):
        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return F.binary_cross_entropy_with_logits(output, 1 - target)

    return same_digit_siamese().but(objective=Exchanged())


def rarely_rented() -> Recipe:
    """Bikes of which most hours see none."""
    return bikes_poisson().but(data=tables.as_splits(*made.bikes(level=-0.7)))


@planted(WIRING, bikes_poisson, also=(Cause.MODEL_BIAS,), repaired=rarely_rented)
def rates_where_their_logs_are_read() -> Recipe:
    """The model ends in a softplus, and the loss takes its outputs for logs: no rate below one can be said."""
    return rarely_rented().but(model=lambda: nn.Sequential(*nets.mlp(6, 64, 64, 1), nn.Softplus()))


@planted(WIRING, sensors_variational, also=(Cause.OPTIMIZATION, Cause.MODEL_BIAS))
def divergence_summed_and_error_averaged() -> Recipe:
    """The divergence is summed over batch and code, the error a mean over both: the code says nothing any more."""

    @thalweg.objective
    def unbalanced(model: nn.Module, batch: Any) -> Tensor:
        x, clean = batch
        output, mean, log_variance = model(x)
        return ((output - clean) ** 2).mean(1) + own.kl(mean, log_variance) * len(x)

    return sensors_variational().but(objective=unbalanced, judge=own.elbo)


@planted(WIRING, winds_with_their_spread)
def a_log_variance_of_the_wrong_sign() -> Recipe:
    """The error is multiplied by the variance instead of divided, so that it pays to be sure of anything."""

    class Sure(nn.Module):
        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            mean, log_variance = output.chunk(2, 1)
            return 0.5 * (log_variance + (target - mean) ** 2 * log_variance.exp()).mean()

    return winds_with_their_spread().but(objective=Sure(), judge=own.GaussianLoss())


@planted(WIRING, spirals_by_a_deep_network)
def the_loop_trains_a_copy() -> Recipe:
    """The loop trains a deep copy of the model, to be safe; what is judged is the model."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Callable[..., Any]) -> None:
        safe = copy.deepcopy(model)
        for x, y in batches:
            optimizer.zero_grad()
            objective(safe(x), y).backward()
            optimizer.step()

    return spirals_by_a_deep_network().but(loop=loop)


@planted(WIRING, grades_by_sgd)
def weights_drawn_anew_in_every_epoch() -> Recipe:
    """The weights are initialized within the loop over epochs instead of before it."""

    def loop(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Callable[..., Any]) -> None:
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        for x, y in batches:
            optimizer.zero_grad()
            objective(model(x), y).backward()
            optimizer.step()

    return grades_by_sgd().but(loop=loop)


@planted(WIRING, tickets_of_two_tasks)
def the_second_loss_replaces_the_first() -> Recipe:
    """An equals sign where plus and equals were meant: of two losses the last one is minimized."""

    @thalweg.objective
    def replaced(model: nn.Module, batch: Any) -> Tensor:
        urgent, hours = model(batch["x"])
        loss = F.binary_cross_entropy_with_logits(urgent, batch["urgent"], reduction="none")
        loss = (hours - batch["hours"]) ** 2
        return loss.flatten()

    return tickets_of_two_tasks().but(objective=replaced)


@planted(WIRING, drawings_of_several, reads=lambda output: output - 0.5)
def a_softmax_over_labels_that_occur_together() -> Recipe:
    """A softmax over labels of which several are true: no two of them can be likely at once."""
    net = lambda: nn.Sequential(own.drawing_filters(), nn.Softmax(1))  # noqa: E731
    return drawings_of_several().but(model=net, objective=nn.BCELoss())


@planted(WIRING, words_tagged)
def words_of_a_sentence_left_unsorted() -> Recipe:
    """Sentences are sorted by length for packing, and never sorted back to the order of their tags."""

    class Sorted(own.WordTagger):
        def forward(self, words: Tensor) -> Tensor:
            order = (words > 0).sum(1).argsort(descending=True)
            return super().forward(words[order])

    return words_tagged().but(model=Sorted)


@planted(WIRING, preferred_offer)
def both_offers_are_the_first() -> Recipe:
    """A slip of names: both scores are computed from the first offer, and their difference is always 0."""

    class Slip(own.Preferred):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return (self.score(first) - self.score(first)).squeeze(1)

    return preferred_offer().but(model=Slip)


@planted(WIRING, load_of_the_next_hour)
def hours_counted_as_channels_by_a_view() -> Recipe:
    """A view where no dimension of the batch was kept: the filters run on through the next example."""

    class Run(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = own.load_filters()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.permute(2, 1, 0).reshape(len(x), 1, -1))

    return load_of_the_next_hour().but(model=Run)
