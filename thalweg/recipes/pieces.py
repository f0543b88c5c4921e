"""From a section of settings to a piece of a recipe: `kind` names it, the other keys are its arguments."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thalweg.core.errors import RecipeError, did_you_mean
from thalweg.core.kinds import check_arguments, check_name
from thalweg.core.signature import argument_names
from thalweg.loss import L1, L2, Bernoulli, Categorical, Gaussian, ScheduledSampling, Tagging
from thalweg.loss.guided import check_aligned
from thalweg.measure.metrics import METRICS
from thalweg.nn import Prepared, cnn, encoder, gat, gcn, mlp, rnn, rnn_seq2seq, transformer
from thalweg.nn import pretrained as with_weights
from thalweg.optim import AVERAGES, Grouped, optimizer_by_name, schedule_by_name
from thalweg.recipes.construction import INPUTS, beside, built, imported, kind_and_arguments, named, placed
from thalweg.recipes.settings import Settings
from thalweg.recipes.starting import has_seen
from thalweg.training import EarlyStopping
from thalweg.training.recipe import check_counts, check_step

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "encoder": encoder,
    "rnn": rnn,
    "gcn": gcn,
    "gat": gat,
    "transformer": transformer,
    "rnn-seq2seq": rnn_seq2seq,
}
OBJECTIVES: dict[str, Callable[..., nn.Module]] = {
    "gaussian": Gaussian,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "tagging": Tagging,
}
PENALTIES: dict[str, Callable[..., Any]] = {"l1": L1, "l2": L2}
WITHHELD = ("reduction",)
"""What a recipe asks of every likelihood, and so no setting says: one value, the mean."""


def model_piece(settings: Settings, given: Mapping[str, Any], folder: Path | None = None) -> Callable[[], nn.Module]:
    """The model factory; `given` are the sizes that the data decide (inputs, outputs, channels), where asked for.

    Raises `RecipeError` naming file and line for an unknown kind or argument, and for one of the wrong kind.
    """
    factory, own = named(settings, "model", MODELS)
    arguments = {name: value for name, value in given.items() if name in argument_names(factory)} | own
    told = own.get("brackets")
    if told is not None and factory in MODELS.values() and told != given.get("brackets"):
        tokens = f"they are {given['brackets']}" if "brackets" in given else "there are none, for targets are no trees"
        raise RecipeError(
            f"{settings.place('model', 'brackets')}brackets is {told!r}, but the data decide them: {tokens}. Leave it "
            "out, or say none for a decoder that is not told where it stands in a tree."
        )
    if factory is cnn and "channels" not in arguments:
        raise RecipeError(
            f"{settings.place('model', 'kind')}a cnn reads images, but the data are a table. Say that its columns are "
            "pixels: [data] layout = [1, 28, 28] (channels, height, width), or use kind = 'mlp'."
        )
    with placed(settings, "model", factory, arguments), torch.device("meta"):
        check_arguments(factory, arguments)
        # builds nothing, and finds a knob out of its range now
        empty = factory(**arguments) if factory in MODELS.values() else None
    if empty is not None and settings["objective"].get("guided"):
        check_aligned(empty)
    model = partial(factory, **arguments)
    around = partial(model_around, model, folder, has_seen(settings, folder))
    return built(settings, "model", around, beside(settings, "model"))


def model_around(
    model: Callable[[], nn.Module],
    folder: Path | None,
    seen: bool,
    *,
    pretrained: str | None = None,
    input_noise: float = 0.0,
    standardize_examples: bool = False,
) -> Callable[[], nn.Module]:
    """The model factory itself, or one that begins with the weights of a safetensors file, found from `folder`, which
    have `seen` train or not, or one whose models get their inputs with noise, or each example of them standardized.
    """
    if pretrained is not None:
        model = with_weights(model, pretrained if folder is None else folder / pretrained, seen=seen)
    plain = not input_noise and not standardize_examples
    return model if plain else Prepared(model, input_noise, standardize_examples)


def objective_piece(settings: Settings) -> nn.Module:
    """The likelihood that is trained, of a decoder that is not always given gold inputs where that is said."""
    likelihood: nn.Module = built(settings, "objective", *named(settings, "objective", OBJECTIVES, WITHHELD))
    inputs = {key: value for key, value in beside(settings, "objective").items() if key in INPUTS}
    return built(settings, "objective", partial(ScheduledSampling, likelihood), inputs) if inputs else likelihood


def penalty_piece(settings: Settings) -> Any:
    """The penalty on the weights, None where there is no such section."""
    return built(settings, "penalty", *named(settings, "penalty", PENALTIES)) if settings["penalty"] else None


def average_piece(settings: Settings) -> Any:
    """The running average of the weights, None where there is no such section."""
    return built(settings, "average", *named(settings, "average", AVERAGES)) if settings["average"] else None


def optimizer_piece(settings: Settings) -> Callable[..., Any]:
    """The optimizer factory; one of torch's is tried on a single weight, which finds a value out of its range now."""
    kind, arguments = kind_and_arguments(settings, "optimizer")
    own = ":" in kind
    factory = (
        partial(imported(kind, settings.place("optimizer", "kind")), **arguments)
        if own
        else built(settings, "optimizer", partial(optimizer_by_name, kind), arguments)
    )
    trial = partial(factory.func, [torch.zeros(1, requires_grad=True)])
    with placed(settings, "optimizer", trial, arguments):
        check_arguments(trial, arguments)
        if not own:
            trial(**arguments)
    groups = beside(settings, "optimizer")
    return built(settings, "optimizer", partial(Grouped, factory), groups) if groups else factory


def schedule_piece(settings: Settings) -> Callable[..., Any] | None:
    """The schedule, None where there is no such section; of torch's schedulers the factory `optimizer -> scheduler`."""
    if not settings["schedule"]:
        return None
    kind, arguments = kind_and_arguments(settings, "schedule")
    if ":" not in kind:
        return built(settings, "schedule", partial(schedule_by_name, kind), arguments)
    factory = imported(kind, settings.place("schedule", "kind"))
    for name in arguments:
        check_name(factory, name, f"{settings.place('schedule', name)}the schedule '{kind}'")
    if argument_names(factory)[:1] != ["optimizer"]:
        return built(settings, "schedule", factory, arguments)
    with placed(settings, "schedule", factory, arguments):
        check_arguments(partial(factory, None), arguments)
    return partial(factory, **arguments)


def stopping_piece(settings: Settings) -> EarlyStopping | None:
    """Early stopping, None where there is no such section."""
    arguments = settings["stopping"]
    return built(settings, "stopping", EarlyStopping, arguments) if arguments else None


def fit_piece(settings: Settings, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that [fit] says; `metrics` are those of the task, where none are named."""
    fields: dict[str, Any] = built(settings, "fit", fit, settings["fit"])
    return fields | {"metrics": fields["metrics"] or dict(metrics)}


def fit(
    *,
    batch_size: int | None = 32,
    epochs: int = 30,
    seed: int = 0,
    metrics: str | Sequence[str] | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
    precision: str = "float32",
    compile: bool | str = False,
    channels_last: bool | str = False,
) -> dict[str, Any]:
    """The keys of [fit], with their defaults, as fields of a recipe; metrics are looked up by their names."""
    check_counts(batch_size=batch_size, epochs=epochs, seed=seed)
    check_step(clip_norm, accumulate, precision, compile, channels_last)
    names = [metrics] if isinstance(metrics, str) else metrics or []
    for name in names:
        if name not in METRICS:
            raise RecipeError(f"there is no metric '{name}'.{did_you_mean(name, METRICS)}")
    chosen = {name: METRICS[name] for name in names}
    step = {"clip_norm": clip_norm, "accumulate": accumulate}
    speed = {"precision": precision, "compile": compile, "channels_last": channels_last}
    return {"batch_size": batch_size, "epochs": epochs, "seed": seed, "metrics": chosen, **step, **speed}
