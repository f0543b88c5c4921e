"""What a finished run is worth: its scores on every split, its calibration, its predictions; kept in the run folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from thalweg.core.convert import Batching, as_source, loaded
from thalweg.core.device import resolve_device
from thalweg.core.errors import RecipeError
from thalweg.core.files import own_folder, write_json, write_own
from thalweg.core.randomness import untouched
from thalweg.core.source import Source, plain_of
from thalweg.data import ImageSource
from thalweg.loss import Rewarded
from thalweg.measure.calibration import advised_temperature, expected_calibration_error
from thalweg.recipes.augmenting import augmented_examples
from thalweg.recipes.data_kinds import Concluded, kind_of_source, kind_reading
from thalweg.recipes.inside import look_inside
from thalweg.recipes.pairs import Pairs, pairs_of
from thalweg.recipes.predict import batch_outputs, outputs_on
from thalweg.recipes.restore import unloaded
from thalweg.recipes.shown import keep_shown
from thalweg.training import Recipe, Run, evaluate
from thalweg.training.evaluate import evaluate_model
from thalweg.training.factories import build_model

SPLITS = ("train", "validation", "test")
BEFORE = "reward_before"
"""A score of what was trained for a reward: that of the weights it began with."""


@dataclass(frozen=True)
class Conclusion:
    """Scores by split and name, each (value, low, high); calibration where the run classifies.

    `target` says what is predicted where no table does.
    """

    scores: dict[str, dict[str, tuple[float, float, float]]]
    calibration: dict[str, float] | None = None
    target: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `evaluation.json` and `--json` hold them."""
        named = {
            split: {name: dict(zip(("value", "low", "high"), score, strict=True)) for name, score in scores.items()}
            for split, scores in self.scores.items()
        }
        said = {} if self.target is None else {"target": self.target}
        return {"metrics": named, "calibration": self.calibration, **said}

    def flat(self) -> dict[str, float]:
        """Values by "split.name", as conditions ask for them."""
        return {f"{split}.{name}": score[0] for split, scores in self.scores.items() for name, score in scores.items()}


def quantities(recipe: Recipe) -> tuple[str, ...]:
    """What every split is judged by: the loss, and the recipe's metrics."""
    return ("loss", *recipe.metrics)


def scored_names(recipe: Recipe) -> list[str]:
    """The names that `Conclusion.flat` will have, before anything is trained."""
    splits = [split for split in SPLITS if getattr(recipe.data, split) is not None]
    told = [f"{split}.{name}" for split in splits for name in quantities(recipe)]
    more = added_names(getattr(plain_of(loaded(recipe.data.train)), "encoding", None))
    more = (*more, BEFORE) if is_rewarded(recipe) else more
    return told + [f"{split}.{name}" for split in splits if split != "train" for name in more]


def added_names(encoding: Any) -> tuple[str, ...]:
    """The scores that data of this encoding have beside the loss and the metrics."""
    kind = kind_reading(encoding)
    return () if kind is None else kind.score_names(encoding)


def conclude(run: Run, device: str = "auto") -> Conclusion:
    """Judge the best weights of a run on all its splits; written into its folder where it has one."""
    assert run.recipe is not None
    splits = {name: getattr(run.recipe.data, name) for name in SPLITS}
    sources = {name: _source(run, split, name) for name, split in splits.items() if split is not None}
    scores = {name: evaluate(run, source, device=device) for name, source in sources.items()}
    held_out: dict[str, Source] = {name: source for name, source in sources.items() if name != "train"}
    judged: dict[str, Concluded] = {}
    pairs: dict[str, Pairs | None] = {}
    for name, of in held_out.items():
        if (kind := kind_of_source(of)) is None:
            pairs[name] = pairs_of(run, of)
        else:
            judged[name] = kind.judge(of, outputs_on(run))
            scores[name] |= judged[name].scores()
    for name, before in rewards_before(run, held_out, device).items():
        scores[name][BEFORE] = before
    known = [of for of in pairs.values() if of is not None]
    conclusion = Conclusion(scores, calibrate(run, sources, pairs), known[-1].about() if known else None)
    if run.path is not None:
        _keep_predictions(run, held_out, judged | {name: of for name, of in pairs.items() if of is not None})
        write_json(run.path / "evaluation.json", conclusion.to_json())
        _keep_looks(run, held_out, judged)
    return conclusion


def rewards_before(run: Run, sources: Mapping[str, Source], device: str) -> dict[str, tuple[float, float, float]]:
    """The reward that the weights had with which a training for it began, on each split; nothing of any other run.

    Nothing either where these weights are gone.
    """
    recipe = run.recipe
    assert recipe is not None
    if not is_rewarded(recipe):
        return {}
    try:
        with untouched():
            model = build_model(recipe.model).eval()
    except RecipeError:
        return {}
    place = resolve_device(device)
    return {
        name: evaluate_model(model.to(place), recipe, source, place, 0.95)[Rewarded.chosen_by]
        for name, source in sources.items()
    }


def is_rewarded(recipe: Recipe) -> bool:
    """Whether a recipe trains a reward, which it measures, beginning with weights from a file."""
    measured = isinstance(recipe.objective, Rewarded) and Rewarded.chosen_by in recipe.metrics
    return measured and unloaded(recipe.model) is not recipe.model


def calibrate(
    run: Run, sources: dict[str, Source], pairs: dict[str, Pairs | None] | None = None
) -> dict[str, float] | None:
    """How far softmax is from a confidence: the calibration error, the temperature that validation asks for, the error
    after it. None where the run does not classify, or has no validation split.
    """
    if pairs:
        first, last = pairs.get("validation"), pairs.get("test", pairs.get("validation"))
        if first is None or last is None or not (first.classes and last.classes):
            return None
        return _calibrated(first.outputs, first.targets, last.outputs, last.targets)
    validation: Any
    judged: Any
    validation, judged = sources.get("validation"), sources.get("test", sources.get("validation"))
    kind = kind_of_source(validation)
    if kind is None or not kind.classifies(validation.encoding):
        return None
    return _calibrated(*_logits_and_labels(run, validation), *_logits_and_labels(run, judged))


def _calibrated(fitting: Tensor, classes: Tensor, logits: Tensor, labels: Tensor) -> dict[str, float]:
    """The temperature that the first pair asks for, and the errors of the second without and with it."""
    fitted = advised_temperature(fitting, classes)
    return {
        "error": float(expected_calibration_error(logits, labels)),
        "temperature": fitted,
        "error_after": float(expected_calibration_error(logits / fitted, labels)),
    }


def _logits_and_labels(run: Run, source: Any) -> tuple[Tensor, Tensor]:
    kind = kind_of_source(source)
    assert kind is not None
    return kind.scored(source, batch_outputs(run, source)), kind.class_numbers(source)


def _source(run: Run, split: Any, name: str) -> Source:
    assert run.recipe is not None
    return as_source(split, name, Batching(run.recipe.batch_size, run.recipe.collate))


def _keep_looks(run: Run, held_out: dict[str, Source], judged: Mapping[str, Concluded]) -> None:
    """What a network looks at in the last split that was held out, and what one of images was given to train on."""
    assert run.path is not None
    if name := next(reversed(held_out), None):
        if (found := look_inside(run, held_out[name], name)) is not None:
            write_json(run.path / "inside.json", found, indent=None)
        if name in judged and (texts := judged[name].shown()) is not None:
            write_json(run.path / "decoding.json", texts | {"split": name}, indent=None)
    if (examples := augmented_examples(run)) is not None:
        write_json(run.path / "augmentation.json", examples, indent=None)


def _keep_predictions(run: Run, held_out: dict[str, Source], judged: Mapping[str, Concluded | Pairs]) -> None:
    """The predictions on what was held out, beside the rows or the inputs themselves."""
    assert run.path is not None
    for name, of in judged.items():
        source, frame = held_out[name], of.frame()
        if isinstance(source, ImageSource):
            keep_shown(own_folder(run.path / "predictions"), name, source, frame)
        write_own(own_folder(run.path / "predictions") / f"{name}.csv", frame.to_csv(index=False).encode())
