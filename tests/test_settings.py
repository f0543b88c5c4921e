"""Settings: TOML, `--set`, Python recipes; every mistake is named with its file and line."""

from pathlib import Path

import pytest
import torch

import thalweg
from thalweg import RecipeError
from thalweg.loss import Gaussian, WeightedLoss
from thalweg.recipes.settings import Settings, parse_value

TOML = """\
[data]
source = "iris"

[model]
kind = "mlp"
width = 16

[optimizer]
kind = "sgd"
lr = 0.1
momentum = 0.5

[fit]
batch_size = 8
epochs = 3
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)

    def written(text: str, name: str = "recipe.toml") -> Path:
        Path(name).write_text(text, encoding="utf-8")
        return Path(name)

    return written


def test_a_recipe_in_toml_says_what_it_says(write) -> None:  # type: ignore[no-untyped-def]
    recipe = thalweg.load(write(TOML))
    assert (recipe.batch_size, recipe.epochs, recipe.seed) == (8, 3, 0)
    model = recipe.model()
    assert [layer.out_features for layer in model if isinstance(layer, torch.nn.Linear)] == [16, 16, 3]
    optimizer = recipe.optimizer(model.parameters())
    assert (optimizer.defaults["lr"], optimizer.defaults["momentum"]) == (0.1, 0.5)
    assert thalweg.train(recipe).status is thalweg.Outcome.FINISHED


def test_set_lies_over_the_file(write) -> None:  # type: ignore[no-untyped-def]
    changes = ["epochs=7", "optimizer.lr=0.5", "model.depth=1", "seed=3", "schedule=cosine", "penalty.kind=l2"]
    recipe = thalweg.load(write(TOML), assignments=[*changes, "penalty.strength=0.1"])
    assert (recipe.epochs, recipe.seed) == (7, 3)
    assert recipe.schedule(50, 100) == pytest.approx(0.5)
    assert recipe.penalty(recipe.model()) > 0
    assert recipe.optimizer.keywords["lr"] == 0.5


def test_a_table_knows_its_steps_so_that_every_schedule_ends_where_it_should(write) -> None:  # type: ignore[no-untyped-def]
    own = '[schedule]\nkind = "warm_up"\nlength = 0.1\nthen = "cosine"\n[fit]'
    run = thalweg.train(thalweg.load(write(TOML.replace("[fit]", own))))
    rates = [row["learning_rate"] for row in run.history]
    assert rates[0] > rates[1] > rates[2]
    assert rates[-1] < 0.01


def test_another_kind_drops_the_arguments_of_the_one_before(write) -> None:  # type: ignore[no-untyped-def]
    recipe = thalweg.load(write(TOML), assignments=["optimizer.kind=adam", "optimizer.lr=0.01"])
    assert recipe.optimizer.keywords == {"lr": 0.01}


def test_parameter_groups_and_pretrained_weights(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = write(TOML.replace("momentum = 0.5", "weight_decay = 0.1\ndecay_norms_and_biases = false"))
    run = thalweg.train(thalweg.load(path), out=tmp_path / "runs")
    decays = [group["weight_decay"] for group in run.recipe.optimizer(run.recipe.model()).param_groups]
    assert sorted(decays) == [0.0, 0.1]
    best = run.path / "checkpoints" / "best.safetensors"
    again = thalweg.load(path, assignments=[f"model.pretrained={best}", "optimizer.lr_factors={'1.*' = 0.1}"])
    assert torch.equal(again.model()[1].weight, run.model[1].weight)
    rates = {round(group["lr"], 3) for group in again.optimizer(again.model()).param_groups}
    assert rates == {0.1, 0.01}
    moved = thalweg.train(again.but(epochs=1)).last
    assert not torch.equal(moved[1].weight, run.model[1].weight)


MISTAKES = [
    (("[model]", "[modle]"), "recipe.toml, line 4: there is no section .modle.. Did you mean 'model'"),
    (
        ("width = 16", "widht = 16"),
        "recipe.toml, line 6: the model 'mlp' has no argument 'widht'. Did you mean 'width'",
    ),
    (("epochs = 3", "epoch = 3"), "recipe.toml, line 15: .fit. has no key 'epoch'. Did you mean 'epochs'"),
    (('kind = "mlp"', 'kind = "mlpp"'), "recipe.toml, line 5: there is no model 'mlpp'. Did you mean 'mlp'"),
    (('kind = "sgd"', 'kind = "sdg"'), "recipe.toml, line 9: There is no optimizer 'sdg'. Did you mean 'sgd'"),
    (("lr = 0.1", "learning_rate = 0.1"), "recipe.toml, line 10: .* no option 'learning_rate'. Did you mean 'lr'"),
    (("width = 16", "width = 0"), "recipe.toml, line 6: mlp: width is 0, but it must be a whole number of at least 1"),
    (('kind = "mlp"', 'kind = "nets:Net"'), "recipe.toml, line 5: the module 'nets' .* cannot be imported"),
    (('kind = "mlp"', 'kind = "torch.nn:Liner"'), "recipe.toml, line 5: .* has no 'Liner'. Did you mean 'Linear'"),
    (("[fit]", "[penalty]\nstrength = 0.1\n[fit]"), r"recipe.toml, line 13: \[penalty\] needs a kind"),
    (('source = "iris"', ""), "recipe.toml, line 1: the recipe names no data"),
    (('source = "iris"', 'source = "irsi"'), "irsi"),
    (("epochs = 3", "epochs = "), "recipe.toml, line 15: this is not TOML"),
    (("[fit]", "model2 = 3\n[fit]"), "recipe.toml, line 13: .* has no option 'model2'"),
    (("batch_size = 8", "batch_size = 0"), "batch_size=0, but it is a whole number of at least 1"),
    (
        ("epochs = 3", 'metrics = ["acuracy"]'),
        "recipe.toml, line 15: there is no metric 'acuracy'. Did you mean 'accuracy'",
    ),
    (
        ("[fit]", '[schedule]\nkind = "cosin"\n[fit]'),
        "recipe.toml, line 14: There is no schedule 'cosin'. Did you mean",
    ),
    (("[fit]", "[stopping]\npatience = 0\n[fit]"), "recipe.toml, line 1[34]: patience=0, but the rule waits"),
]


@pytest.mark.parametrize(("change", "expected"), MISTAKES, ids=lambda value: str(value)[:30])
def test_a_mistake_is_named_with_file_and_line(change, expected, write) -> None:  # type: ignore[no-untyped-def]
    path = write(TOML.replace(*change))
    with pytest.raises(thalweg.ThalwegError, match=expected):
        thalweg.load(path)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("epoch=3", "--set epoch=3: there is no setting 'epoch'. Did you mean 'epochs'"),
        ("epochs", "--set epochs gives no value. Write --set key=value"),
        ("modl.width=3", "--set modl.width=3: there is no section 'modl'. Did you mean 'model'"),
        ("fit.epoch=3", r"--set fit.epoch=3: \[fit\] has no key 'epoch'. Did you mean 'epochs'"),
        ("fit=3", "--set fit=3: 'fit' is a section. Write one of its keys: fit.batch_size"),
        (
            "model.attention=dot",
            "the model 'mlp' has no argument 'attention', which is of 'rnn-seq2seq'. Leave it out, or say kind = 'rnn",
        ),
        ("model.widht=3", "--set model.widht=3: the model 'mlp' has no argument 'widht'. Did you mean 'width'"),
        (
            "zzz=3",
            "there is no setting 'zzz'.* Of a piece write the section too, as in model.zzz: model, ",
        ),
        ("penalty.strength=1", r"--set penalty.strength=1: \[penalty\] needs a kind"),
        (
            "metrics=mae",
            "--set metrics=mae: 'mae' does not measure .* species, which holds classes. Name of accuracy, ",
        ),
        ("kind=sgd", "'kind' could be any of .*model.kind.*optimizer.kind.* Write which"),
    ],
)
def test_a_mistake_in_set_is_named(assignment, expected, write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RecipeError, match=expected):
        thalweg.load(write(TOML), assignments=[assignment])


def test_a_scheduler_of_torch_is_named_by_its_module(write) -> None:  # type: ignore[no-untyped-def]
    own = '[schedule]\nkind = "torch.optim.lr_scheduler:StepLR"\nstep_size = 1\ngamma = 0.5\n[fit]'
    run = thalweg.train(thalweg.load(write(TOML.replace("[fit]", own))))
    assert [row["learning_rate"] for row in run.history] == pytest.approx([0.1, 0.05, 0.025])
    with pytest.raises(RecipeError, match=r"line 16: StepLR: gamma is 'half', but it must be a number. Give for"):
        thalweg.load(write(TOML.replace("[fit]", own.replace("0.5", '"half"'))))
    with pytest.raises(
        RecipeError, match=r"line 15: the schedule '.*StepLR' has no argument 'step'. Did you mean 'step_"
    ):
        thalweg.load(write(TOML.replace("[fit]", own.replace("step_size", "step"))))


def test_values_are_read_as_toml_reads_them() -> None:
    values = {
        "3": 3,
        "1e-3": 1e-3,
        ".1": 0.1,
        "-2.": -2.0,
        "1.2.3": "1.2.3",
        "true": True,
        "none": None,
        "cosine": "cosine",
        '"3"': "3",
        "[1, 2]": [1, 2],
    }
    assert {text: parse_value(text) for text in values} == values


def test_settings_do_not_change_under_set() -> None:
    settings = Settings({"fit": {"epochs": 5}})
    settings.over(["epochs=7"])
    assert settings["fit"]["epochs"] == 5


def test_a_subject_that_is_nowhere(write) -> None:  # type: ignore[no-untyped-def]
    write("a,b\n1,2\n", "houses.csv")
    with pytest.raises(RecipeError, match="There is no subject 'huoses.csv': .* Did you mean 'houses.csv'"):
        thalweg.load("huoses.csv")
    with pytest.raises(RecipeError, match="There is no subject 'digit': .* Did you mean 'digits'"):
        thalweg.load("digit")


def test_a_source_is_found_from_the_recipes_own_folder(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n" + "".join(f"{i % 7},{'xy'[i % 2]}\n" for i in range(30)))
    (tmp_path / "recipe.toml").write_text('[data]\nsource = "rows.csv"\ntarget = "b"\n[fit]\nepochs = 1\n')
    assert thalweg.train(thalweg.load(tmp_path / "recipe.toml")).status is thalweg.Outcome.FINISHED


def test_weights_make_the_likelihood_an_objective(write) -> None:  # type: ignore[no-untyped-def]
    rows = "".join(f"{i % 7},{i * 0.5},{1 + i % 3}\n" for i in range(40))
    path = write("a,y,w\n" + rows, "rows.csv")
    recipe = thalweg.load(path, data={"target": "y", "weights": "w"}, assignments=["epochs=2"])
    assert isinstance(recipe.objective, WeightedLoss)
    assert isinstance(recipe.objective.likelihood, Gaussian)
    run = thalweg.train(recipe)
    assert run.history[-1]["metrics"]["mae"] > 0


def test_balanced_class_weights_come_from_the_training_rows(write) -> None:  # type: ignore[no-untyped-def]
    rows = "".join(f"{i % 7},{'rare' if i % 5 == 0 else 'common'}\n" for i in range(50))
    path = write("a,y\n" + rows, "rows.csv")
    recipe = thalweg.load(path, data={"target": "y"}, assignments=["objective.class_weights=balanced"])
    assert recipe.objective.class_weights.tolist() == pytest.approx([0.625, 2.5])


def test_metrics_of_classes_do_not_measure_numbers(write) -> None:  # type: ignore[no-untyped-def]
    path = write("a,y\n" + "".join(f"{i % 7},{i * 0.5}\n" for i in range(40)), "rows.csv")
    with pytest.raises(
        RecipeError, match="'auc' does not measure the target y, which holds numbers. Name of mae, rmse"
    ):
        thalweg.load(path, data={"target": "y"}, assignments=["metrics=['mae', 'auc']"])


def test_few_rows_are_gone_through_more_often(write) -> None:  # type: ignore[no-untyped-def]
    """Thirty epochs of three steps leave a network where it began; what is said goes before."""
    path = write("a,y\n" + "".join(f"{i % 7},{'yn'[i % 3 % 2]}\n" for i in range(670)), "rows.csv")  # 402 to train on

    def epochs(*assignments: str) -> int:
        return thalweg.load(path, data={"target": "y"}, assignments=assignments).epochs

    assert epochs() == 77  # ceil(1000 / ceil(402 / 32))
    assert epochs("batch_size=5") == 30
    assert epochs("batch_size=none") == 200
    assert epochs("epochs=3") == 3


# --- recipes in Python ---

PYTHON = """\
from functools import partial

import torch
from torch import nn

import thalweg

x = torch.linspace(-1, 1, 20)[:, None]


def net(width=4):
    return nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))


recipe = thalweg.Recipe(
    data=thalweg.Splits(train=(x, x.square())),
    model=partial(net, width=4),
    objective=nn.MSELoss(),
    optimizer=partial(torch.optim.Adam, lr=0.01),
    epochs=2,
)
"""


def test_a_recipe_in_python(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    recipe = thalweg.load(write(PYTHON, "recipe.py"), assignments=["epochs=3", "model.width=7", "optimizer.lr=0.1"])
    assert recipe.epochs == 3
    assert recipe.model()[0].out_features == 7
    run = thalweg.train(recipe, out=tmp_path / "runs")
    again = thalweg.load_run(run.path)
    x = torch.ones(3, 1)
    assert torch.equal(run.model(x), again.model(x))
    assert again.recipe.optimizer.keywords["lr"] == 0.1


@pytest.mark.parametrize(
    ("change", "assignments", "expected"),
    [
        (("recipe = ", "receipt = "), [], "makes no recipe. .* under the name 'receipt': call it 'recipe'"),
        (("import torch\n", "import toch\n"), [], "stopped with ModuleNotFoundError: No module named 'toch'"),
        (("", ""), ["epoch=3"], "a recipe has no field 'epoch'. Did you mean 'epochs'"),
        (("", ""), ["objective.weight=3"], "the objective of this recipe has no bound arguments"),
        (("", ""), ["epochs=x"], "^--set epochs=x: epochs='x', but it is a whole number of at least 0"),
        (
            ("", ""),
            ["optimizer.lr=-1"],
            "^--set optimizer.lr=-1: lr = -1 is refused by Adam: Invalid learning rate: -1. Give",
        ),
        (("", ""), ["optimizer.lr=x"], "^--set optimizer.lr=x: Adam: lr is 'x', but it must be a number. Give for"),
        (
            ("", ""),
            ["optimizer.lrr=3"],
            "^--set optimizer.lrr=3: the optimizer 'Adam' has no argument 'lrr'. Did you mean 'lr'",
        ),
    ],
)
def test_mistakes_in_a_python_recipe(change, assignments, expected, write) -> None:  # type: ignore[no-untyped-def]
    path = write(PYTHON.replace(*change), "recipe.py")
    with pytest.raises(RecipeError, match=expected):
        thalweg.load(path, assignments=assignments)


def test_a_python_recipe_brings_its_own_data(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RecipeError, match="brings its own data, so --target cannot change"):
        thalweg.load(write(PYTHON, "recipe.py"), data={"target": "x"})
