"""Networks: their shapes, their order of layers, what stands still, and what their errors say."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from thalweg.core.errors import RecipeError
from thalweg.nn import Frozen, Temperature, cnn, mlp, pretrained
from thalweg.training.weights import save_weights


def kinds(model: nn.Module) -> list[str]:
    return [type(module).__name__ for module in model.modules() if not isinstance(module, nn.Sequential)]


@settings(deadline=None, max_examples=25)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    depth=st.integers(0, 3),
    norm=st.sampled_from([None, "batch", "layer"]),
    dropout=st.sampled_from([0.0, 0.3]),
)
def test_an_mlp_takes_any_shape_and_counts_hidden_layers(shape, depth, norm, dropout):
    inputs = int(torch.tensor(shape).prod())
    model = mlp(inputs, 7, width=11, depth=depth, norm=norm, dropout=dropout, activation="gelu")
    assert model(torch.randn(3, *shape)).shape == (3, 7)
    assert kinds(model).count("GELU") == depth
    assert kinds(model).count("Linear") == depth + 1


def test_the_norm_stands_before_the_activation_and_takes_the_place_of_the_bias():
    assert kinds(mlp(3, 2, depth=1, norm="layer", dropout=0.1)) == [
        *("Flatten", "Linear", "LayerNorm", "ReLU", "Dropout", "Linear")
    ]
    assert mlp(3, 2, depth=1, norm="batch")[1].bias is None
    assert mlp(3, 2, depth=1, norm="layer")[1].bias is not None
    assert kinds(cnn(2, 3, width=5, depth=1)) == [
        *("Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"),
        *("AdaptiveAvgPool2d", "Flatten", "Linear"),
    ]


def test_depth_0_is_a_linear_model():
    model = mlp(5, 3, depth=0)
    x, y = torch.randn(7, 5), torch.randn(7, 5)
    torch.testing.assert_close(model(x) + model(y) - model(torch.zeros(7, 5)), model(x + y))


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    depth=st.integers(1, 4),
    pool=st.sampled_from(["max", "mean", None]),
    stride=st.integers(1, 2),
    kernel=st.sampled_from([1, 3, 5]),
)
def test_a_cnn_takes_images_of_any_size(height, width, depth, pool, stride, kernel):
    model = cnn(2, 7, width=3, depth=depth, pool=pool, stride=stride, kernel=kernel, norm=None, dropout=0.2)
    output = model(torch.randn(3, 2, height, width))
    assert output.shape == (3, 7)
    assert torch.isfinite(output).all()


def test_channels_double_and_sides_halve_in_each_block():
    model = cnn(3, 10, width=5, depth=3)
    x = torch.randn(2, 3, 31, 17)
    shapes = []
    for block in model[:3]:
        x = block(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(5, 16, 9), (10, 8, 5), (20, 4, 3)]


def test_mean_pooling_at_a_border_divides_by_the_pixels_that_are_there():
    pooled = cnn(1, 1, pool="mean", depth=1)[0][-1](torch.ones(1, 1, 3, 3))
    torch.testing.assert_close(pooled, torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (
            lambda: mlp(0, 2),
            "mlp: inputs is 0, but it must be a whole number of at least 1. Give for instance inputs=1.",
        ),
        (lambda: mlp(3, 2, depth=-1), "mlp: depth is -1, but it must be a whole number of at least 0"),
        (
            lambda: mlp(3, 2, dropout=1.0),
            "mlp: dropout is 1.0, but it is the share of units to silence, at least 0 and",
        ),
        (
            lambda: mlp(3, 2, activation="rellu"),
            "mlp: activation is 'rellu', but it must be one of 'relu', .* mean 'relu'",
        ),
        (
            lambda: mlp(3, 2, norm="instance"),
            "norm is 'instance', but it must be one of None, 'batch', 'layer', 'group', 'rms', 'power'. Give",
        ),
        (lambda: cnn(3, 2, width=0), "cnn: width is 0"),
        (lambda: cnn(3, 2, kernel=4), "kernel is 4, but it must be odd .* Give kernel=3 or kernel=5."),
        (lambda: cnn(3, 2, pool="maxx"), "cnn: pool is 'maxx', .* Did you mean 'max'?"),
        (
            lambda: cnn(3, 2, norm="bath"),
            "cnn: norm is 'bath', but it must be one of .*'power', None. Did you mean 'batch'",
        ),
        (lambda: cnn(3, 2, dropout=-0.1), "cnn: dropout is -0.1"),
        (
            lambda: Temperature(nn.Identity(), 0.0),
            "value is 0.0, but .* positive and finite. Fit it by thalweg.measure",
        ),
    ],
)
def test_knobs_out_of_range_say_what_and_how_to_mend(build, said):
    with pytest.raises(RecipeError, match=said):
        build()


def test_frozen_stands_still_and_lets_gradients_through():
    first = nn.Linear(3, 3)
    frozen = Frozen(nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2)))
    model = nn.Sequential(first, frozen).train()
    before = copy.deepcopy(frozen.state_dict())
    x = torch.randn(5, 3) + 7
    model(x).sum().backward()
    assert frozen.training
    assert not any(module.training for module in frozen.module.modules())
    for name, tensor in frozen.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in frozen.parameters())
    assert first.weight.grad is not None
    assert first.weight.grad.abs().sum() > 0
    torch.testing.assert_close(model(x), model(x), rtol=0, atol=0)
    assert frozen.declared_frozen


def test_frozen_asks_for_a_module():
    with pytest.raises(RecipeError, match=r"was given <function mlp .*>. Build it first: Frozen\(factory\(\)\)"):
        Frozen(mlp)


def build() -> nn.Sequential:
    return mlp(3, 2, width=5, depth=1, norm="batch")


def test_pretrained_loads_what_was_saved_every_time(tmp_path):
    source = build()
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    factory = pretrained(build, tmp_path / "weights.safetensors")
    one, two = factory(), factory()
    assert one[1].weight is not two[1].weight
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, source.state_dict()[name], rtol=0, atol=0)
    assert (factory.factory, factory.strict) == (build, True)


def test_pretrained_takes_tied_weights_that_are_written_once(tmp_path):
    def tied() -> nn.Sequential:
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    source, path = tied(), tmp_path / "tied.safetensors"
    save_weights(source, path)
    model = pretrained(tied, path)()
    assert model[1].weight is model[0].weight
    torch.testing.assert_close(model[1].weight, source[0].weight)
    with pytest.raises(RecipeError, match=r"The file lacks 1.weight\. "):  # where they are two, one is missing
        pretrained(lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), path)()


def test_pretrained_says_which_names_do_not_fit(tmp_path):
    state = build().state_dict()
    path = tmp_path / "weights.safetensors"
    save_file({f"net.{name}": tensor for name, tensor in state.items()}, path)
    said = (
        r"The file lacks 1.weight, 2.weight, 2.bias, 2.running_mean, 2.running_var, and 3 more. "
        r"Is it 'net.1.weight', which the file has\? The model lacks net.1.weight, .* and 3 more. "
        r"Build the architecture that the weights were saved from, or rename the file's keys.$"
    )
    with pytest.raises(RecipeError, match=said):
        pretrained(build, path)()
    with pytest.raises(RecipeError, match=r"do not fit the model. The file lacks"):
        pretrained(build, path, strict=False)()


def test_pretrained_without_strict_takes_what_fits(tmp_path):
    source = build()
    state = {name: tensor for name, tensor in source.state_dict().items() if name.startswith("1.")}
    save_file(state | {"extra": torch.ones(1)}, tmp_path / "part.safetensors")
    model = pretrained(build, tmp_path / "part.safetensors", strict=False)()
    torch.testing.assert_close(model[1].weight, source[1].weight)
    with pytest.raises(RecipeError, match=r"The model lacks extra. Build .* or load what fits by .*strict=False\)."):
        pretrained(build, tmp_path / "part.safetensors")()


def test_pretrained_says_which_shapes_do_not_fit(tmp_path):
    save_file(mlp(3, 7, width=5, depth=1, norm="batch").state_dict(), tmp_path / "other.safetensors")
    said = (
        r"other shapes: 4.weight \(7, 5\) in the file, \(2, 5\) in the model; 4.bias \(7,\) .* Build the model with the"
    )
    for strict in (True, False):
        with pytest.raises(RecipeError, match=said):
            pretrained(build, tmp_path / "other.safetensors", strict=strict)()


def test_pretrained_says_which_file_is_missing_or_is_no_safetensors(tmp_path):
    with pytest.raises(
        RecipeError, match=r"none.safetensors does not exist \(looked in .*\). Give the path of a .safeten"
    ):
        pretrained(build, tmp_path / "none.safetensors")()
    (tmp_path / "bad.safetensors").write_text("weights")
    with pytest.raises(
        RecipeError, match=r"bad.safetensors is not a safetensors file .* Save the weights by safetensors"
    ):
        pretrained(build, str(tmp_path / "bad.safetensors"))()


def test_temperature_changes_confidence_and_no_prediction():
    model = mlp(3, 5)
    x = torch.randn(7, 3)
    hot, cold = Temperature(model, 3.0)(x).softmax(1), Temperature(model, 0.3)(x).softmax(1)
    assert (hot.max(1).values < cold.max(1).values).all()
    assert torch.equal(hot.argmax(1), cold.argmax(1))
    assert Temperature(model, 3.0).state_dict()["value"] == 3.0
