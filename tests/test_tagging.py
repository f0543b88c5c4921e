"""A class for each position: the likelihood, the accuracy, the embedding of words with letters, and all in a run."""

import io
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.nn import functional as F

import thalweg
from thalweg.core.errors import DataError, RecipeError
from thalweg.core.objective import Moment, as_objective
from thalweg.core.tokens import UNKNOWN
from thalweg.data.conll_loading import conll_splits
from thalweg.data.word_hashing import PLACES
from thalweg.loss.tagging import Tagging
from thalweg.measure import accuracy, f1
from thalweg.measure.tagging import tag_accuracy
from thalweg.nn import encoder, rnn
from thalweg.nn.word_features import WordFeatures
from thalweg.training.interval import metric_interval
from thalweg.training.judging import Judge
from thalweg.training.values import joined

LENGTHS = (5, 2, 7)
TRAINING, JUDGING = Moment(training=True), Moment()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    output, y = torch.randn(3, 7, 4), torch.randint(4, (3, 7))
    for i, length in enumerate(LENGTHS):
        y[i, length:] = -100
    y[0, 1] = -100
    return output, y


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_mean_is_torchs_over_all_positions(weights: list[float] | None, smoothing: float) -> None:
    output, y = batch()
    losses = Tagging(smoothing, weights)(nn.Identity(), (output, y), TRAINING)
    given = None if weights is None else torch.tensor(weights)
    flat = F.cross_entropy(output.flatten(0, 1), y.flatten(), given, label_smoothing=smoothing)
    torch.testing.assert_close(losses.mean(), flat)
    judged = Tagging(smoothing, weights)(nn.Identity(), (output, y), JUDGING).mean()
    torch.testing.assert_close(judged, F.cross_entropy(output.flatten(0, 1), y.flatten(), given))


def test_a_sentence_has_the_mean_of_its_positions() -> None:
    output, y = batch()
    losses = Tagging()(nn.Identity(), (output, y), TRAINING)
    assert losses.weight.tolist() == [4, 2, 7]
    for i in range(3):
        kept = y[i] != -100
        torch.testing.assert_close(losses.value[i], F.cross_entropy(output[i, kept], y[i, kept]))


def test_a_sentence_without_a_target_counts_nothing() -> None:
    output, y = batch()
    y[1] = -100
    output = output.requires_grad_()
    losses = Tagging()(nn.Identity(), (output, y), TRAINING)
    assert (losses.value[1].item(), losses.weight[1].item()) == (0, 0)
    losses.mean().backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()
    assert not output.grad[1].any()
    assert not output.grad[2, 7:].any()


def test_many_seeds_at_once() -> None:
    output, y = batch()
    stacked = torch.stack([output, 2 * output])
    means = torch.func.vmap(lambda one: Tagging(0.1, [1.0, 2.0, 3.0, 4.0])(nn.Identity(), (one, y), TRAINING).mean())(
        stacked
    )
    expected = [Tagging(0.1, [1.0, 2.0, 3.0, 4.0])(nn.Identity(), (one, y), TRAINING).mean() for one in stacked]
    torch.testing.assert_close(means, torch.stack(expected))


def test_double_and_half_precision() -> None:
    output, y = batch()
    assert Tagging()(nn.Identity(), (output.double(), y), TRAINING).value.dtype == torch.float64
    half = Tagging()(nn.Identity(), (output.bfloat16(), y), TRAINING).mean()
    torch.testing.assert_close(half, F.cross_entropy(output.flatten(0, 1), y.flatten()), atol=0.02, rtol=0.02)


def test_the_accuracy_over_positions_that_have_a_target() -> None:
    output, y = batch()
    kept = y != -100
    losses = tag_accuracy(nn.Identity(), (output, y))
    torch.testing.assert_close(losses.mean(), (output.argmax(2) == y)[kept].float().mean())
    output[0, 0] = torch.nan
    assert tag_accuracy(nn.Identity(), (output, y)).mean().isnan()
    output[0, 0], output[0, 5:] = 0.0, torch.nan  # padding is never read
    assert tag_accuracy(nn.Identity(), (output, y)).mean().isfinite()


def test_metrics_of_classes_read_the_positions_that_have_a_target() -> None:
    text = "the DET\ncat NOUN\nsat VERB\n\na DET\ndog _\n\nsleep VERB\n\n" * 4
    source = conll_splits(io.StringIO(text), validation_share=0, test_share=0).train.batched(5)
    targets = [y for _, y in source.batches(1, 0, None)]
    torch.manual_seed(0)
    outputs = [torch.randn(*y.shape, 3) for y in targets]
    output, target, unit = joined(outputs, targets, source)
    rows = [
        (o[i, t], int(y[i, t]))
        for o, y in zip(outputs, targets, strict=True)
        for i in range(len(y))
        for t in range(y.shape[1])
        if y[i, t] != -100
    ]
    assert torch.equal(output, torch.stack([row for row, _ in rows]))
    assert target.tolist() == [one for _, one in rows]
    assert unit.tolist() == [i for i in range(12) for _ in range((3, 1, 1)[i % 3])]
    guess = output.argmax(1)
    assert float(f1(output, target)) == pytest.approx(f1_score(target, guess, average="macro"))
    assert joined(outputs[:1], targets[:1], source.take(range(5)))[2].max() == 4


@pytest.mark.parametrize("documents", [False, True])
def test_intervals_of_metrics_resample_whole_sentences_or_documents(documents: bool) -> None:
    draw = np.random.default_rng(0).choice
    words = [[f"w{draw(9)} {draw(['DET', 'NOUN', 'VERB'])}\n" for _ in range(3 + i % 3)] for i in range(60)]
    text = "".join(f"# newdoc id = d{i // 2:02}\n" * (i % 2 == 0) + "".join(one) + "\n" for i, one in enumerate(words))
    train = conll_splits(io.StringIO(text), validation_share=0, test_share=0, documents=documents).train
    recipe = thalweg.Recipe(
        data=thalweg.Splits(train=train),
        model=partial(Tagger, len(train.encoding.vocabulary), 3),
        objective=Tagging(),
        metrics={"accuracy": accuracy, "f1": f1, "marked": tag_accuracy},
        epochs=1,
    )
    run = thalweg.train(recipe)
    scores = thalweg.evaluate(run, train)
    batches = list(train.batches(1, 0, None))
    output, target, _ = joined([run.model.eval()(*x) for x, _ in batches], [y for _, y in batches], train)
    sentence = np.repeat(np.arange(60), [3 + i % 3 for i in range(60)])
    units = sentence // 2 if documents else sentence
    ends = metric_interval(lambda rows: float(f1(output[rows], target[rows])), len(target), units)
    assert scores["f1"] == pytest.approx((float(f1(output, target)), *ends), abs=1e-5)
    assert scores["accuracy"] == pytest.approx(scores["marked"], abs=1e-6)
    assert 0 < scores["accuracy"][0] < 1


def test_judging_asks_the_model_once_for_loss_and_metrics() -> None:
    source = conll_splits(io.StringIO("the DET\ncat NOUN\n\n" * 10), validation_share=0, test_share=0).train
    recipe = thalweg.Recipe(
        data=thalweg.Splits(train=source), model=partial(Tagger, 9, 2), objective=Tagging(0.1), metrics={"f1": f1}
    )
    model, calls = Tagger(9, 2), []
    model.register_forward_hook(lambda *_: calls.append(1))
    seen = Judge.of(recipe).scores(model, source, torch.device("cpu"))
    assert len(calls) == len(source.ordered(1, None))
    alone = Judge.of(recipe.but(metrics={})).scores(model, source, torch.device("cpu"))
    assert seen["loss"] == alone["loss"]


@pytest.mark.parametrize(
    ("output", "y", "message"),
    [
        (
            torch.zeros(3, 4),
            torch.zeros(3).long(),
            r"the output is \(3, 4\) float32 and the target \(3,\) int64, but logits",
        ),
        (
            torch.zeros(3, 7, 4),
            torch.zeros(3, 5).long(),
            r"logits \(batch, length, classes\) go with whole class numbers",
        ),
        (torch.zeros(3, 7, 4), torch.zeros(3, 7), "go with whole class numbers"),
        (torch.zeros(3, 7, 4), torch.full((3, 7), 4), "class numbers run from 4 to 4, but the logits have 4 classes"),
    ],
)
def test_shapes_that_do_not_agree(output: torch.Tensor, y: torch.Tensor, message: str) -> None:
    with pytest.raises(RecipeError, match=f"Tagging: .*{message}"):
        Tagging()(nn.Identity(), (output, y), TRAINING)


def test_knobs_that_cannot_be() -> None:
    with pytest.raises(RecipeError, match="label_smoothing is 2"):
        Tagging(2.0)
    with pytest.raises(RecipeError, match="Tagging: 2 class weights for logits of 4 classes"):
        Tagging(class_weights=[1.0, 2.0])(nn.Identity(), batch(), TRAINING)
    with pytest.raises(RecipeError, match="tag_accuracy got an output"):
        tag_accuracy(nn.Identity(), (torch.zeros(3, 4), torch.zeros(3).long()))
    with pytest.raises(RecipeError, match="WordFeatures: width is 0"):
        WordFeatures(5, 5, width=0)
    with pytest.raises(RecipeError, match="WordFeatures: word_dropout is 1.0, .* share of words to silence"):
        WordFeatures(5, 5, word_dropout=1.0)
    for values in (torch.ones(2, 3).long(), torch.ones(2, 3, 4), torch.ones(2, 3, 0).long()):
        for model in (WordFeatures(5, 5), encoder(2, vocabulary=5, places=5), rnn(2, vocabulary=5, places=5)):
            with pytest.raises(RecipeError, match=r"takes words with their letters, int64.* and was given (int|float)"):
                model(values)
    with pytest.raises(DataError, match=r"Tokens lie between 2 and 5, but the network knows 0 to 4.*vocabulary=6"):
        WordFeatures(5, 9)(torch.tensor([[[2, 8], [5, 8]]]))
    with pytest.raises(DataError, match=r"Tokens lie between 7 and 9, but the network knows 0 to 8.*places=10"):
        WordFeatures(5, 9)(torch.tensor([[[2, 7], [3, 9]]]))


def test_a_word_is_the_sum_of_what_is_known_of_it() -> None:
    torch.manual_seed(0)
    embed = WordFeatures(11, 13, width=5)
    tokens = torch.randint(1, 11, (2, 3, 4))
    tokens[1, 2] = 0
    expected = (
        embed.words.weight[tokens[..., 0]] + sum(embed.letters.weight[tokens[..., i]] for i in (1, 2, 3)) / 3**0.5
    )
    torch.testing.assert_close(embed(tokens), expected)
    assert not embed(tokens)[1, 2].any()
    assert WordFeatures(11, 13, width=5).double()(tokens).dtype == torch.float64


def test_words_are_forgotten_in_training_alone() -> None:
    embed = WordFeatures(11, 13, width=5, word_dropout=0.5)
    tokens = torch.full((1, 1000, 1), 7)
    tokens[0, 990:] = 0
    out = embed(tokens)[0]
    forgotten = (out == embed.words.weight[UNKNOWN]).all(1)
    assert 0.4 < forgotten[:990].float().mean() < 0.6
    assert not out[990:].any()
    assert (embed.eval()(tokens)[0, :990] == embed.words.weight[7]).all()


class Tagger(nn.Module):
    def __init__(self, words: int, outputs: int) -> None:
        super().__init__()
        self.embed, self.head = WordFeatures(words, PLACES, width=8), nn.Linear(8, outputs)

    def forward(self, values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(values))


def test_a_run_learns_is_judged_and_scored(tmp_path: object) -> None:
    text = "the DET\ncat NOUN\n\na DET\ndog NOUN\nsat VERB\n\n" * 20
    splits = conll_splits(io.StringIO(text), tokens=24)
    encoding = splits.train.encoding
    recipe = thalweg.Recipe(
        data=splits,
        model=partial(Tagger, len(encoding.vocabulary), encoding.outputs),
        objective=Tagging(0.1),
        optimizer=partial(torch.optim.Adam, lr=0.1),
        epochs=4,
        metrics={"accuracy": tag_accuracy},
    )
    run = thalweg.train(recipe)
    assert as_objective(recipe.objective)
    scores = thalweg.evaluate(run, splits.test)
    assert scores["accuracy"][0] == 1.0
    words = splits.test.targets.values
    told = [run.model.eval()(*x) for x, _ in splits.test.batches(1, 0, None)]
    flat = torch.cat(
        [
            one[torch.arange(one.shape[1]) < n[:, None]]
            for one, ((_, n), _) in zip(told, splits.test.batches(1, 0, None), strict=True)
        ]
    )
    assert scores["loss"][0] == pytest.approx(F.cross_entropy(flat, torch.from_numpy(words)).item(), rel=1e-4)
    assert np.isfinite(scores["loss"]).all()
