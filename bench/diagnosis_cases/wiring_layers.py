"""Faults of wiring inside the model or the loss: it computes something else than was meant."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis_cases import nets, sequences, tables
from diagnosis_cases.case import planted
from diagnosis_cases.setups import (
    adding_gru,
    bars_cnn,
    cancer_logit,
    digits_cnn,
    digits_dropout,
    digits_mlp,
    digits_rows_gru,
    digits_sgd,
    first_gru,
    friedman_mlp,
    friedman_sgd,
    groups_mlp,
    labels_mlp,
    last_attention,
    lookup_attention,
    majority_lstm,
    recipe,
    rings_mlp,
    spots_cnn,
    tags_gru,
)
from thalweg import Recipe
from thalweg.diagnosis import Cause

WIRING = Cause.WIRING


@planted(WIRING, digits_sgd)
def softmax_before_cross_entropy() -> Recipe:
    """A softmax in the model and another in the loss, which learns slowly by SGD."""
    net = lambda: nn.Sequential(*nets.mlp(64, 64, 64, 10), nn.Softmax(1))  # noqa: E731
    return digits_sgd().but(model=net, optimizer=partial(torch.optim.SGD, lr=0.05), epochs=20)


@planted(WIRING, tags_gru)
def softmax_over_tags_before_cross_entropy() -> Recipe:
    """A tagger that ends in a softmax over the wrong axis, time, before CrossEntropyLoss."""

    class Softened(nets.Tagger):
        def forward(self, tokens: Tensor) -> Tensor:
            return super().forward(tokens).softmax(2)

    return tags_gru().but(model=partial(Softened, 6, 24, 3))


@planted(WIRING, digits_sgd)
def log_softmax_over_the_batch() -> Recipe:
    """LogSoftmax over the batch axis before NLLLoss, in batches of ten digits, several of a class."""
    net = lambda: nn.Sequential(*nets.mlp(64, 64, 64, 10), nn.LogSoftmax(0))  # noqa: E731
    return digits_sgd().but(model=net, objective=nn.NLLLoss(), batch_size=10)


@planted(WIRING, groups_mlp)
def softmax_over_the_batch() -> Recipe:
    """Softmax over the batch axis, then CrossEntropyLoss, in batches of 256: all outputs lie near 1 / 256."""
    net = lambda: nn.Sequential(*nets.mlp(20, 96, 96, 4), nn.Softmax(0))  # noqa: E731
    return groups_mlp().but(model=net, batch_size=256)


@planted(WIRING, cancer_logit, reads=lambda output: output - 0.5)
def softmax_of_one_unit() -> Recipe:
    """A softmax over a single unit, which is always 1."""
    net = lambda: nn.Sequential(*nets.mlp(30, 16, 1), nn.Softmax(dim=1))  # noqa: E731
    return cancer_logit().but(model=net, objective=nn.BCELoss())


@planted(WIRING, rings_mlp)
def relu_before_the_logit() -> Recipe:
    """A ReLU after the last layer of a classifier by one logit, which can say yes and never no."""
    net = lambda: nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1), nn.ReLU(), nn.Flatten(0))  # noqa: E731
    return rings_mlp().but(model=net)


@planted(WIRING, friedman_mlp)
def relu_head_on_negative_targets() -> Recipe:
    """A ReLU after the last layer of a regression whose targets are negative half of the time."""
    net = lambda: nn.Sequential(*nets.mlp(10, 64, 64, 1), nn.ReLU())  # noqa: E731
    return friedman_mlp().but(model=net)


@planted(WIRING, friedman_sgd)
def sigmoid_head_on_unbounded_targets() -> Recipe:
    """A sigmoid after the last layer of a regression with targets below 0 and above 1."""
    net = lambda: nn.Sequential(*nets.mlp(10, 48, 48, 1), nn.Sigmoid())  # noqa: E731
    return friedman_sgd().but(model=net)


@planted(WIRING, spots_cnn)
def softmax_head_on_coordinates() -> Recipe:
    """A softmax over the two coordinates that a CNN is to predict."""

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 2), nn.Softmax(1)
        )

    return spots_cnn().but(model=net)


@planted(WIRING, friedman_mlp)
def column_against_row() -> Recipe:
    """Outputs of shape (N, 1) against targets of shape (N,): the loss is a mean over all pairs."""
    parts = tuple((x, y[:, 0]) for x, y in tables.friedman())
    return recipe(parts, lambda: nets.mlp(10, 64, 64, 1), mean_squared, lr=3e-3, epochs=40)


def mean_squared(output: Tensor, target: Tensor) -> Tensor:
    """The mean squared error, written by hand."""
    return ((output - target) ** 2).mean()


@planted(WIRING, adding_gru)
def column_against_row_after_a_gru() -> Recipe:
    """A GRU with outputs of shape (N, 1) against targets of shape (N,), absolute errors."""
    parts = tuple((x, y[:, 0]) for x, y in sequences.adding())
    net = partial(nets.Recurrent, nn.GRU, 2, 32, 1)
    return recipe(parts, net, lambda output, target: (output - target).abs().mean(), lr=1e-2, epochs=20)


@planted(WIRING, groups_mlp)
def loss_with_the_wrong_sign() -> Recipe:
    """A log likelihood that is minimized: the minus is missing."""

    def likelihood(output: Tensor, target: Tensor) -> Tensor:
        return output.log_softmax(1).gather(1, target[:, None]).mean()

    return groups_mlp().but(objective=likelihood)


@planted(WIRING, spots_cnn)
def agreement_with_the_wrong_sign() -> Recipe:
    """The cosine between output and target is minimized where it should grow."""
    return spots_cnn().but(objective=lambda output, target: F.cosine_similarity(output, target).mean())


@planted(WIRING, labels_mlp)
def loss_of_the_first_label_alone() -> Recipe:
    """The loss takes the first column of five labels: the others are never trained; it is judged by all five."""
    loss = nn.BCEWithLogitsLoss()
    return labels_mlp().but(objective=lambda output, target: loss(output[:, 0], target[:, 0]), judge=loss)


@planted(WIRING, digits_rows_gru)
def detached_states() -> Recipe:
    """The states of a small GRU are detached before the last layer, so that the GRU never learns."""

    class Detached(nets.Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            states, _ = self.rnn(x)
            return self.head(states[:, -1].detach())

    return digits_rows_gru().but(model=partial(Detached, nn.GRU, 8, 48, 10))


@planted(WIRING, bars_cnn)
def filters_under_no_grad() -> Recipe:
    """The filters run under torch.no_grad, so that only the last layer learns."""

    class Filters(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.filters = nn.Sequential(nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.AdaptiveMaxPool2d(1))
            self.head = nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                features = self.filters(x)
            return self.head(features.flatten(1))

    return bars_cnn().but(model=Filters)


@planted(WIRING, friedman_mlp)
def a_branch_through_numpy() -> Recipe:
    """One of two branches goes through NumPy and back, which cuts its gradient; the other sees five useless inputs."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nets.mlp(5, 4, 4), nets.mlp(5, 32, 32)
            self.head = nn.Linear(36, 1)

        def forward(self, x: Tensor) -> Tensor:
            first = torch.from_numpy(self.first(x[:, :5]).detach().cpu().numpy()).to(x.device)
            return self.head(torch.cat([first, self.second(x[:, 5:])], 1))

    return friedman_mlp().but(model=Branches)


@planted(WIRING, groups_mlp)
def layers_in_a_plain_list() -> Recipe:
    """Narrow hidden layers in a Python list: the optimizer never sees them."""

    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [nn.Linear(20, 12), nn.Linear(12, 12), nn.Linear(12, 12)]
            self.head = nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.hidden:
                x = layer(x).relu()
            return self.head(x)

    return groups_mlp().but(model=Listed)


@planted(WIRING, digits_mlp)
def a_new_head_in_every_forward() -> Recipe:
    """The last layer is made anew in every forward pass."""

    class Fresh(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return nn.Linear(64, 10)(self.body(x))

    return digits_mlp().but(model=Fresh)


@planted(WIRING, spots_cnn)
def the_input_is_overwritten() -> Recipe:
    """The forward pass starts from zeros like the input and never reads the input itself."""

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 2)
            )

        def forward(self, x: Tensor) -> Tensor:
            canvas = torch.zeros_like(x)
            return self.net(canvas)

    return spots_cnn().but(model=Blind)


@planted(WIRING, digits_cnn)
def pixels_cast_to_whole_numbers() -> Recipe:
    """Pixels from 0 to 1 are cast to whole numbers on the way in, which makes nearly all of them 0."""

    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nets.digits_filters()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.long().float())

    return digits_cnn().but(model=Cast)


@planted(WIRING, digits_dropout)
def dropout_left_on() -> Recipe:
    """F.dropout without training=self.training: it stays on where the model is evaluated."""

    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(64, 128), nn.Linear(128, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(x, 0.5)
            return self.second(F.dropout(self.first(x).relu(), 0.5))

    return digits_dropout().but(model=Dropping)


@planted(WIRING, adding_gru)
def dropout_left_on_after_a_gru() -> Recipe:
    """F.dropout on the states of a GRU, on in evaluation too."""

    class Dropping(nets.Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            states, _ = self.rnn(x)
            return self.head(F.dropout(states[:, -1], 0.3))

    return adding_gru().but(model=partial(Dropping, nn.GRU, 2, 32, 1))


@planted(WIRING, digits_rows_gru)
def batch_first_is_missing() -> Recipe:
    """A GRU without batch_first is fed (batch, time, rows): it runs along the batch."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(8, 48), nn.Linear(48, 10)

        def forward(self, x: Tensor) -> Tensor:
            states, _ = self.rnn(x)
            return self.head(states[:, -1])

    return digits_rows_gru().but(model=Mixed)


@planted(WIRING, first_gru)
def reshaped_where_a_transpose_was_meant() -> Recipe:
    """(batch, time, channel) is made (time, batch, channel) by reshape, which mixes the examples of a batch."""

    class Reshaped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(3, 24), nn.Linear(24, 3)

        def forward(self, x: Tensor) -> Tensor:
            batch, time, channels = x.shape
            states, _ = self.rnn(x.reshape(time, batch, channels))
            return self.head(states[-1])

    return first_gru().but(model=Reshaped)


@planted(WIRING, majority_lstm)
def the_first_step_answers() -> Recipe:
    """The answer is read from the state after the first step instead of the last."""

    class First(nets.Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            states, _ = self.rnn(x)
            return self.head(states[:, 0])

    return majority_lstm().but(model=partial(First, nn.LSTM, 1, 24, 2))


@planted(WIRING, tags_gru)
def classes_and_time_mixed_by_reshape() -> Recipe:
    """(batch, time, class) is made (batch, class, time) by reshape in the loss."""

    class Reshaped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.rnn = nn.Embedding(6, 8), nn.GRU(8, 24, batch_first=True)
            self.head = nn.Linear(24, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            scores = self.head(self.rnn(self.embedding(tokens))[0])
            return scores.reshape(len(tokens), 3, -1)

    return tags_gru().but(model=Reshaped)


@planted(WIRING, lookup_attention)
def the_mask_hides_what_is_asked_for() -> Recipe:
    """An inverted mask: attention may look at the question itself and at nothing before it."""

    class Masked(nets.Lookup):
        def weights(self, x: Tensor) -> Tensor:
            scores = self.key(x) @ self.query(x[:, -1:]).transpose(1, 2)
            hidden = torch.arange(x.shape[1], device=x.device) < x.shape[1] - 1
            return scores.squeeze(2).masked_fill(hidden, -1e9).softmax(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.weights(x)[:, :, None] * self.value(x)).sum(1))

    return lookup_attention().but(model=partial(Masked, 8, 16, 4))


@planted(WIRING, lookup_attention)
def attention_over_the_batch() -> Recipe:
    """The softmax of attention runs over the batch instead of the rows that are looked at."""

    class Across(nets.Lookup):
        def weights(self, x: Tensor) -> Tensor:
            scores = self.key(x[:, :-1]) @ self.query(x[:, -1:]).transpose(1, 2)
            return scores.squeeze(2).softmax(0)

    return lookup_attention().but(model=partial(Across, 8, 16, 4))


@planted(WIRING, last_attention)
def encoder_without_batch_first() -> Recipe:
    """An encoder layer without batch_first: it attends to other examples at the same place."""

    class Across(nets.Tokens):
        def __init__(self) -> None:
            super().__init__(8, 10)
            self.encoder = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0)

    return last_attention().but(model=Across)


@planted(WIRING, digits_rows_gru)
def batch_rolled_against_its_labels() -> Recipe:
    """In training the inputs of a batch are rolled by one example, and their labels stay."""

    class Rolled(nets.Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.roll(x, 1, dims=0) if self.training else x)

    return digits_rows_gru().but(model=partial(Rolled, nn.GRU, 8, 48, 10))
