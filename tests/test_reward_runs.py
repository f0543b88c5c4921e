"""Reward in recipes and runs: keys, a run to start from, the epoch that is best, and what goes on to the same bits."""

import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from resuming import bits, broken_off

import thalweg
from thalweg.cli import main
from thalweg.core.convert import loaded
from thalweg.core.errors import RecipeError, RunError, Unsupported
from thalweg.core.fingerprint import UNKNOWN, fingerprint
from thalweg.core.notices import collecting
from thalweg.core.objective import Moment
from thalweg.data import PairEncoding, PairSchema, Vocabulary
from thalweg.diagnosis import Budget
from thalweg.diagnosis.laboratory import lay_out
from thalweg.loss import Reward, Rewarded, ScheduledSampling, Tagging
from thalweg.measure.reward import REWARDS
from thalweg.measure.texts import bleu, chrf
from thalweg.recipes import decoded
from thalweg.recipes.conclusion import rewards_before, scored_names
from thalweg.recipes.express import as_toml, expressed
from thalweg.recipes.rewarding import rewarded
from thalweg.training.keeper import Keeper

SMALL = ["model.kind=rnn-seq2seq", "model.width=5", "epochs=2", "data.unit=characters", "data.tokens=200"]
BLEU = ["objective.reward=bleu", "objective.samples=2"]


def write_pairs(name: str = "pairs.tsv", end: str = "") -> None:
    lines = [f"{'ab' * (i % 4 + 1)}{i}\t{'AB' * (i % 4 + 1)}{i}{end}\n" for i in range(30)]
    Path(name).write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs and a run of the likelihood on them."""
    home = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        write_pairs()
        thalweg.train(thalweg.load("pairs.tsv", assignments=SMALL), out="runs", device="cpu")
    return home


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run, in a copy of its own, which the test stands beside."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(decoded, "PER_UNIT", 0)  # what hardly learned does not end by itself
    monkeypatch.setattr(decoded, "BESIDE", 4)
    return next(Path("runs").iterdir())


def started(run: Path, *more: str, **options: Any) -> thalweg.Recipe:
    return thalweg.load("pairs.tsv", start=run, assignments=["epochs=2", *more], **options)


def loaded_validation(path: str) -> Any:
    recipe = thalweg.load_run(path).recipe
    assert recipe is not None
    return loaded(recipe.data.validation)


# --- rewards ----------------------------------------------------------------------------------------------------------


def test_rewards_are_those_of_sacrebleu_and_of_edits() -> None:
    output, reference = "the small cat sat on a mat", "the small cat sat on the mat"
    for unit, name in (("words", "words"), ("characters", "characters")):
        assert REWARDS["bleu"](unit)(output, reference) > REWARDS["bleu"](name)("a dog", reference)
    words = REWARDS["bleu"]("words")
    assert words(output, reference) == pytest.approx(bleu([output], [[reference]]).value / 100)
    assert REWARDS["chrf"]("words")(output, reference) == pytest.approx(chrf([output], [[reference]]).value / 100)
    assert words("cat", "cat") == pytest.approx(1)  # shorter than four words, and whole
    assert words("cat sat", "sat cat") > 0  # no pair in common, and smoothed
    assert REWARDS["bleu"]("characters")("maus", "haus") > words("maus", "haus") == 0
    assert REWARDS["wer"]("characters")("a b", "a c d d") == 0.25
    assert REWARDS["cer"]("words")("ab c", "ab d") == 0.75
    assert (REWARDS["exact"]("words")("a", "a"), REWARDS["exact"]("words")("a", "b")) == (1, 0)


def test_texts_are_scored_as_they_would_be_put_out() -> None:
    words = Vocabulary.fit(["a cat sat"], "words", fewest=1)
    known = {word: words.numbers[word] for word in ("a", "cat")}
    seen: list[tuple[str, str]] = []
    loss = rewarded(
        Tagging(), PairEncoding(words, words, PairSchema(copying=True)), lambda *pair: seen.append(pair) or 1.0
    )
    extra = len(words)
    loss.score([(known["a"], extra, 3), (1,), (extra + 1, 3)], (known["a"], extra, 1, 3))
    outputs, references = zip(*seen, strict=True)
    assert len(set(references)) == 1
    first, copied, unknown = references[0].split()
    assert outputs[0] == f"a {copied}"  # what is copied from one place is the same word
    assert outputs[1] == "<unknown>" != unknown  # an unknown word is not hit by saying so
    assert outputs[2] not in (copied, unknown)
    assert first == "a"


# --- recipes ----------------------------------------------------------------------------------------------------------


def test_a_reward_from_a_recipe(run: Path) -> None:
    keys = ["objective.method=minimum-risk", "objective.sharpness=0.5", "objective.gold=false",
            "objective.likelihood_weight=0.25", "objective.temperature=0.9"]  # fmt: skip
    recipe = started(run, *BLEU, *keys)
    loss = recipe.objective
    assert isinstance(loss, Rewarded)
    assert (loss.method, loss.samples, loss.sharpness, loss.gold) == ("minimum-risk", 2, 0.5, False)
    assert fingerprint(loss) == fingerprint(started(run, *BLEU, *keys).objective) != UNKNOWN  # so it can be kept
    assert fingerprint(recipe.metrics["reward"]) != UNKNOWN
    assert recipe.optimizer.keywords["lr"] == 3e-4  # a tenth of the usual
    assert (loss.likelihood_weight, loss.temperature, loss.likelihood.label_smoothing) == (0.25, 0.9, 0.1)
    ended = thalweg.train(recipe, out="runs", device="cpu")
    assert set(ended.history[0]["metrics"]) == {"accuracy", "reward"}
    assert 0 <= ended.history[0]["metrics"]["reward"] <= 1
    scores = thalweg.evaluate(ended, recipe.data.validation)
    assert scores["reward"][1] <= scores["reward"][0] <= scores["reward"][2]
    again = thalweg.load_run(ended.path)
    assert bits(again) == bits(ended)
    smoother = recipe.but(
        objective=rewarded(Tagging(0.2), loss.score.encoding, loss.score.worth, name="bleu", samples=7)
    )
    Path("again.toml").write_text(as_toml(expressed(smoother, recipe), Path()) or "", encoding="utf-8")
    said = thalweg.load("again.toml").objective
    assert (said.samples, said.method, said.likelihood.label_smoothing) == (7, "self-critical", 0.2)
    own = recipe.but(objective=rewarded(Tagging(0.2), loss.score.encoding, lambda *texts: 0.0, name="mine"))
    assert expressed(own, recipe) is own


def test_a_reward_of_your_own(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("brevity.py").write_text("def short(output, reference):\n    return -float(len(output))\nlimit = 3\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    recipe = started(run, "objective.reward=brevity:short")
    assert repr(recipe.objective).split()[1] == "brevity:short,"
    assert recipe.objective.score([(4, 5, 3)], (4, 3)) == [-2.0]
    Path("faulty.py").write_text(
        "def torn(output, reference):\n    raise ValueError('torn')\n"
        "def void(output, reference):\n    return float('nan')\n"
    )
    with pytest.raises(
        RecipeError, match=r"The reward faulty:torn failed on the output '.+' beside .*ValueError: torn"
    ):
        started(run, "objective.reward=faulty:torn").objective.score([(4, 5, 3)], (4, 3))
    judged = Reward(lambda *_: [[(4, 3)]], started(run, "objective.reward=faulty:void").objective.score)
    with pytest.raises(RecipeError, match="The reward faulty:void gave nan, but it is a finite number"):
        judged(torch.nn.Identity(), ({"source": torch.zeros(1)}, torch.tensor([[4, 3]])), Moment())
    with pytest.raises(RecipeError, match=r"reward = 'brevity:limit' is 3, but it is a function \(output, reference\)"):
        started(run, "objective.reward=brevity:limit")


def test_a_run_for_a_reward_goes_on_to_the_same_bits(run: Path, tmp_path: Path) -> None:
    recipe = started(run, *BLEU)
    whole = thalweg.train(recipe, device="cpu")
    again = thalweg.resume(broken_off(recipe, tmp_path / "broken", step=2))
    assert bits(again) == bits(whole)


def test_what_begins_with_nothing_is_refused(run: Path) -> None:
    with pytest.raises(RecipeError, match=r"a reward trains a model that is good already.*--start RUN, or model.pretr"):
        thalweg.load("pairs.tsv", assignments=[*SMALL, *BLEU])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "objective.reward=blue",
            r"--set objective.reward=blue: there is no reward 'blue'\. Did you mean 'bleu'\?.*mine",
        ),
        ("objective.samples=3", r"objective.samples goes with a reward, and there is none\. Say which"),
        (
            "objective.reward=bleu objective.gold=false",
            r"objective.gold is of method = 'minimum-risk', and this reward is trained by 'self-critical', which does",
        ),
        (
            "objective.reward=bleu objective.method=minimum-risk objective.baseline=others",
            r"others: objective.baseline is of method = 'self-critical', .* 'self-critical', or leave it out\.",
        ),
        ("objective.rewrd=bleu", r"has no argument 'rewrd'\. Did you mean 'reward'\?"),
    ],
)
def test_keys_that_are_none(run: Path, said: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        started(run, *said.split())


@pytest.mark.parametrize("said", ["wrong_inputs=0.1", "guided=2.0"])
def test_what_only_a_likelihood_that_is_trained_reads(run: Path, said: str) -> None:
    with pytest.raises(RecipeError, match=rf"objective.{said.split('=')[0]} is how the likelihood is trained, but"):
        started(run, *BLEU, f"objective.{said}")
    loss = started(run, *BLEU, f"objective.{said}", "objective.likelihood_weight=0.5").objective
    assert isinstance(loss.likelihood, ScheduledSampling) is said.startswith("wrong")
    assert loss.guided == (2 if "guided" in said else 0)


@pytest.mark.parametrize("output", ["tree", "set"])
def test_trees_and_sets_have_no_reward(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [(f"a{i} b", f"(S a{i} b)" if output == "tree" else "x") for i in range(9)]
    Path("forms.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in rows))
    more = ["model.pretrained=some.safetensors", f"data.output={output}", *BLEU]
    with pytest.raises(RecipeError, match=rf"a reward compares texts.*data.output = '{output}', to which outputs are"):
        thalweg.load("forms.tsv", assignments=more)


def test_folds_have_tokens_of_their_own(run: Path) -> None:
    with pytest.raises(Unsupported, match=r"Rewarded reads outputs by the vocabulary of all of the train split, but"):
        thalweg.cross_validate(started(run, *BLEU), folds=2, device="cpu")


def test_without_its_metric_nothing_is_said_of_before(run: Path) -> None:
    recipe = started(run, *BLEU).but(metrics={})
    assert "validation.reward_before" in scored_names(started(run, *BLEU))
    assert "validation.reward_before" not in scored_names(recipe)
    ended = thalweg.load_run(run, recipe)
    assert rewards_before(ended, {"validation": recipe.data.validation}, "cpu") == {}


def test_knobs_of_a_reward_name_their_place(run: Path) -> None:
    with pytest.raises(RecipeError, match=r"^--set objective.method=minimum: .*method is 'minimum'"):
        started(run, *BLEU, "objective.method=minimum")


def test_a_table_has_no_reward() -> None:
    with pytest.raises(RecipeError, match="a reward is for outputs that are decoded, and tables have none"):
        thalweg.load("iris", assignments=["objective.reward=exact"])


def test_an_objective_of_your_own_keeps_its_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own_loss_of.py").write_text(
        "from torch import nn\nclass Loss(nn.CrossEntropyLoss):\n    def __init__(self, samples):\n"
        "        super().__init__()\n        self.samples = samples\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = thalweg.load("iris", assignments=["objective.kind=own_loss_of:Loss", "objective.samples=3"])
    assert recipe.objective.samples == 3


# --- the best epoch ---------------------------------------------------------------------------------------------------


def test_the_epoch_of_the_best_reward_is_the_best(run: Path) -> None:
    from thalweg.training.train import ready

    def row(epoch: int, loss: float, reward: float) -> dict[str, Any]:
        metrics = {"accuracy": 0.5, "reward": reward}
        return {"epoch": epoch, "train_loss": 1.0, "validation_loss": loss, "metrics": metrics, "gradient_norm": 1.0}

    rows = [row(1, 1.0, 0.3), row(2, 1.5, 0.5), row(3, 1.2, 0.4), row(4, 0.9, 0.4)]
    for more, best, stopped in ((BLEU, 2, True), ([], 4, False)):
        recipe = started(run, *more, "stopping.patience=2")
        keeper = Keeper(ready(recipe, "cpu"), None)
        ends = []
        for each in rows:
            keeper.keep(each)
            ends.append(keeper.end_with(each))
        assert keeper.best_epoch == best
        assert (ends[-1] is not None) is stopped


def test_a_plateau_is_one_of_the_reward(run: Path) -> None:
    from thalweg.training.loop import close_epoch
    from thalweg.training.train import ready

    plateau = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0)
    for more, falls in ((BLEU, False), ([], True)):
        training = ready(started(run, *more).but(schedule=plateau), "cpu")
        worse = iter([{"loss": 1.0, "reward": 0.3}, {"loss": 2.0, "reward": 0.5}, {"loss": 3.0, "reward": 0.7}])
        training.judge = SimpleNamespace(scores=lambda *_, worse=worse: next(worse))
        rates = [close_epoch(training) and training.optimizer.param_groups[0]["lr"] for _ in range(3)]
        assert (rates[-1] < rates[0]) is falls


# --- a run to start from ----------------------------------------------------------------------------------------------


def test_it_begins_where_the_other_run_is_best(run: Path) -> None:
    recipe = started(run, "model.dropout=0.25")
    first = thalweg.load_run(run)
    for name, weight in recipe.model().state_dict().items():
        assert torch.equal(weight, first.model.state_dict()[name])
    assert recipe.origin["settings"]["model"] | {"pretrained": ""} == {
        "kind": "rnn-seq2seq", "width": 5, "depth": 1, "dropout": 0.25, "pretrained": ""
    }  # fmt: skip
    assert recipe.origin["settings"]["data"]["unit"] == "characters"
    assert [note for note in recipe.origin["notices"] if note.startswith(f"Starts with the best weights of {run.name}")]
    for split in ("train", "validation", "test"):
        assert getattr(recipe.data, split).sources == loaded(getattr(first.recipe.data, split)).sources


def test_its_folder_may_be_gone_when_the_later_run_is_read(run: Path) -> None:
    later = thalweg.train(started(run, *BLEU), out="runs", device="cpu")
    shutil.rmtree(run)
    assert bits(thalweg.load_run(later.path)) == bits(later)
    assert len(thalweg.predict(thalweg.load_run(later.path), ["abab3"])) == 1


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            ["data.split_seed=1"],
            r"data.split_seed is 1, but .* was trained without saying it\. What starts from a run goes on",
        ),
        (["data.unit=words"], r"data.unit is 'words', but .* with 'characters'"),
        (["model.kind=transformer"], r"model.kind is 'transformer', but .* has the weights of a 'rnn-seq2seq'"),
        (["model.width=9"], r"model.width is 9, but .* has the weights of a network with \d+\. Leave it out"),
        (["model.pretrained=x.safetensors"], r"both --start .* and model.pretrained name one\. Leave one of them out"),
    ],
)
def test_data_and_networks_of_another_kind(run: Path, said: list[str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        started(run, *said)


def test_other_files_and_files_that_changed(run: Path) -> None:
    write_pairs("others.tsv")
    with pytest.raises(RecipeError, match=r"data.source is 'others.tsv', but .* with 'pairs.tsv'"):
        thalweg.load("others.tsv", start=run)
    write_pairs(end="!")
    with pytest.raises(RecipeError, match=r"read otherwise than those of .*, whose target differs.*have changed since"):
        started(run)


def test_a_run_from_before_its_encoding_said_as_much_can_be_started_from(run: Path) -> None:
    written = run / "preprocessing.json"
    plain = json.loads(written.read_text())
    del plain["schema"]["letters"], plain["schema"]["separator"]
    written.write_text(json.dumps(plain))
    assert started(run).epochs == 2
    del plain["target"]
    written.write_text(json.dumps(plain))
    with pytest.raises(RecipeError, match=r"read otherwise than those of .* target"):
        started(run)


def test_without_a_subject_the_data_are_those_of_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--start", str(run), "--set", "epochs=1", "--quiet", "--device", "cpu"]) == 0
    (made,) = set(Path("runs").iterdir()) - {run}
    about = json.loads((made / "run.json").read_text())
    assert about["name"] == "pairs"
    assert about["notices"][0].startswith(f"Starts with the best weights of {run.name}")
    assert thalweg.load(start=run).fingerprint() == thalweg.load("pairs.tsv", start=run).fingerprint()
    capsys.readouterr()
    assert main(["train"]) == 2
    told = "There is no SUBJECT to train on. Name built-in data, a file, a folder, a recipe, a case or a run, as in "
    assert f"{told}thalweg train digits; or a run to go on from" in capsys.readouterr().err
    with pytest.raises(RecipeError, match=r"neither a subject nor a run to start from: load\('digits'\)"):
        thalweg.load()
    Path("pairs.tsv").unlink()
    with pytest.raises(RecipeError, match=r"was trained on pairs\.tsv, but there is no such file or folder here, in /"):
        thalweg.load(start=run)


def test_what_the_run_left_unsaid_does_not_fit(run: Path) -> None:
    with pytest.raises(RecipeError, match=r"have other shapes: .* in the file"):
        thalweg.train(started(run, "model.cell=lstm"), device="cpu")


def test_runs_without_weights_or_settings(run: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere is no run folder"):
        started(Path("nowhere"))
    written = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(written | {"origin": None}))
    with pytest.raises(RecipeError, match=r"trained from Python objects or a case.*thalweg\.nn\.pretrained"):
        started(run)
    (run / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(RunError, match=r"\(FINISHED\) has no weights to start from"):
        started(run)


def test_recipes_in_python_and_runs_build_their_own(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("recipe.py").write_text("recipe = None\n")
    with pytest.raises(RecipeError, match=r"recipe.py builds its model itself, so --start cannot give it weights"):
        thalweg.load("recipe.py", start=run)
    assert main(["train", str(run), "--start", str(run), "--quiet"]) == 2
    assert "brings its own network, so --start" in capsys.readouterr().err


def test_from_the_command_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = [item for each in (*BLEU, "epochs=1") for item in ("--set", each)]
    assert main(["train", "pairs.tsv", "--start", "last", *said, "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["metrics"]["validation"]) >= {"loss", "reward", "chrf", "character_error"}
    before = thalweg.evaluate(
        thalweg.load_run(run, thalweg.load_run(told["path"]).recipe), loaded_validation(told["path"])
    )
    assert told["metrics"]["validation"]["reward_before"]["value"] == pytest.approx(before["reward"][0])
    assert "reward_before" not in told["metrics"]["train"]
    page = (Path(told["path"]) / "report.html").read_text(encoding="utf-8")
    assert "Reward by epoch" in page
    assert "1 - reward" in page


def test_what_is_compared_of_a_recipe_with_a_reward_is_said(run: Path) -> None:
    says = "trained for its reward, and what is compared here is the loss of its judge"
    for assignments, count in ((BLEU, 1), ([], 0)):
        with collecting() as told:
            lay_out(started(run, *assignments), torch.device("cpu"), Budget(), lambda stage: None)
        assert sum(says in notice for notice in told) == count
