"""Positions against sines by hand, rotation matrices, the buckets of T5, and an order task at twice the length."""

import math
from typing import Any

import pytest
import torch
from order import accuracy, order_task, trained
from torch import nn

from thalweg.core.errors import RecipeError
from thalweg.nn import LearnedPositions, MultiHeadAttention, RelativeBias, SinusoidalPositions, rotated, sinusoidal
from thalweg.nn.positions import bucket

DOUBLE = torch.zeros((), dtype=torch.float64)


@pytest.mark.parametrize("width", [6, 7])
def test_sinusoidal_positions_are_the_papers(width: int) -> None:
    waves = sinusoidal(5, width, DOUBLE)
    for place in range(5):
        for feature in range(width):
            angle = place / 10000 ** ((feature - feature % 2) / width)
            expected = math.cos(angle) if feature % 2 else math.sin(angle)
            assert waves[place, feature].item() == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(SinusoidalPositions()(torch.ones(2, 5, width).double()), 1 + waves.expand(2, -1, -1))


def test_a_step_is_one_linear_map_wherever_it_is_made() -> None:
    waves = sinusoidal(40, 8, DOUBLE)
    step = torch.linalg.lstsq(waves[:20], waves[3:23]).solution
    torch.testing.assert_close(waves[20:37] @ step, waves[23:40])


def test_rotary_positions_are_rotation_matrices() -> None:
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    for place in range(5):
        for pair in range(4):
            angle = place / 10000 ** (2 * pair / 8)
            turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
            own = slice(2 * pair, 2 * pair + 2)
            torch.testing.assert_close(rotated(x)[:, :, place, own], x[:, :, place, own] @ turn.mT)


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    query, key = (torch.randn(1, 1, 1, 8, dtype=torch.float64).expand(-1, -1, 9, -1) for _ in range(2))
    scores = (rotated(query) @ rotated(key).mT)[0, 0]
    for distance in range(-8, 9):
        along = scores.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along))
    assert len(scores[0].round(decimals=9).unique()) == 9


@pytest.mark.parametrize("causal", [False, True])
def test_distances_fall_in_the_buckets_of_t5(causal: bool) -> None:
    """For all distances by Python's numbers: half of a side's buckets exact, the others logarithmic up to 128."""
    side = 32 if causal else 16
    for distance in range(-300, 301):
        far = max(-distance, 0) if causal else abs(distance)
        if far < side // 2:
            own = far
        else:
            share = math.log(far / (side // 2)) / math.log(128 / (side // 2))
            own = min(side - 1, side // 2 + math.floor(share * (side - side // 2) + 1e-6))
        ahead = side if distance > 0 and not causal else 0
        assert bucket(torch.tensor(distance), causal=causal).item() == own + ahead, distance


def test_a_relative_bias_is_a_number_for_each_head_and_distance() -> None:
    bias = RelativeBias(3)
    nn.init.normal_(bias.weight)
    added = bias(5, 7)
    for query in range(5):
        for key in range(7):
            place = bucket(torch.tensor(key - query))
            torch.testing.assert_close(added[0, :, query, key], bias.weight[place])


@pytest.mark.parametrize("positions", ["relative", "rotary"])
def test_attention_with_relative_places_moves_with_the_sequence(positions: str) -> None:
    """With a window: the output in the middle is the same wherever the same contents stand."""
    torch.manual_seed(0)
    layer = MultiHeadAttention(8, 2, positions=positions, window=2).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(1, 9, 8, dtype=torch.float64)
    moved = torch.cat([torch.randn(1, 4, 8, dtype=torch.float64), x], 1)
    torch.testing.assert_close(layer(moved)[:, 6:11], layer(x)[:, 2:7])


def test_learned_positions_are_added_and_end() -> None:
    positions = LearnedPositions(7, 4)
    x = torch.randn(2, 5, 4)
    assert torch.equal(positions(x), x + positions.weight[:5])
    with pytest.raises(RecipeError, match="have 8 positions, but learned positions end at 7.*length=8.*'sinusoidal'"):
        positions(torch.zeros(1, 8, 4))


@pytest.mark.battery
def test_order_is_learned_and_kept_at_twice_the_length() -> None:
    """Which of two tokens comes first: relative places carry over to longer sequences; without places it is chance."""
    model = trained("relative", length=6, steps=120)
    assert accuracy(model, 6) > 0.85
    assert accuracy(model, 12) > 0.7
    blind = trained(None, length=6, steps=0)
    tokens, _ = order_task(5, 6, seed=0)
    torch.testing.assert_close(blind(tokens.flip(1)), blind(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: LearnedPositions(0, 4), "length is 0"),
        (lambda: LearnedPositions(4, 0), "width is 0"),
        (lambda: RelativeBias(0), "heads is 0"),
        (lambda: RelativeBias(2, buckets=3), "buckets is 3"),
        (lambda: RelativeBias(2, buckets=32, furthest=8), "furthest is 8"),
    ],
)
def test_what_cannot_be_is_said(made: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        made()
