"""Naive twins: the slow, obvious form of what the package computes, written from the formulas.

Plain numbers and loops, no torch: an oracle that is wrong in the same way as the code under test would prove nothing.
"""

import math
from collections.abc import Callable, Sequence

Vector = list[float]
Gradient = Callable[[Vector], Vector]


def gradient_descent(theta: Vector, gradient: Gradient, rates: Sequence[float]) -> list[Vector]:
    """The whole path of theta := theta - eta g."""
    path = []
    for eta in rates:
        g = gradient(theta)
        theta = [t - eta * a for t, a in zip(theta, g, strict=True)]
        path.append(theta)
    return path


def momentum(theta: Vector, gradient: Gradient, rates: Sequence[float], decay: float = 0.9) -> list[Vector]:
    """As the course has it: m := lambda m - eta g, theta := theta + m."""
    path, m = [], [0.0] * len(theta)
    for eta in rates:
        g = gradient(theta)
        m = [decay * b - eta * a for a, b in zip(g, m, strict=True)]
        theta = [t + b for t, b in zip(theta, m, strict=True)]
        path.append(theta)
    return path


def momentum_of_gradients(
    theta: Vector, gradient: Gradient, rates: Sequence[float], decay: float = 0.9, nesterov: bool = False
) -> list[Vector]:
    """As torch has it: m := lambda m + g, theta := theta - eta m (or eta (g + lambda m), looking ahead)."""
    path, m = [], [0.0] * len(theta)
    for eta in rates:
        g = gradient(theta)
        m = [decay * b + a for a, b in zip(g, m, strict=True)]
        move = [a + decay * b for a, b in zip(g, m, strict=True)] if nesterov else m
        theta = [t - eta * b for t, b in zip(theta, move, strict=True)]
        path.append(theta)
    return path


def rmsprop(
    theta: Vector, gradient: Gradient, rates: Sequence[float], alpha: float = 0.99, eps: float = 0.0
) -> list[Vector]:
    """The path of sigma := sqrt(alpha sigma^2 + (1 - alpha) g^2), theta := theta - eta g / (sigma + eps)."""
    path, sigma = [], [0.0] * len(theta)
    for eta in rates:
        g = gradient(theta)
        sigma = [math.sqrt(alpha * s**2 + (1 - alpha) * a**2) for a, s in zip(g, sigma, strict=True)]
        theta = [t - eta * a / (s + eps) for t, a, s in zip(theta, g, sigma, strict=True)]
        path.append(theta)
    return path


def adam(
    theta: Vector,
    gradient: Gradient,
    rates: Sequence[float],
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    decay: float = 0.0,
    decoupled: bool = False,
    corrected: bool = True,
) -> list[Vector]:
    """Kingma & Ba, algorithm 1: averages of g and g^2, divided by what they lack for having started at 0.

    `decay` is weight decay: added to the gradient as of old, or (`decoupled`, AdamW) taken off the weights themselves.
    """
    path, m, v = [], [0.0] * len(theta), [0.0] * len(theta)
    for step, eta in enumerate(rates, start=1):
        g = gradient(theta)
        if decoupled:
            theta = [t - eta * decay * t for t in theta]
        else:
            g = [a + decay * t for a, t in zip(g, theta, strict=True)]
        for k, a in enumerate(g):
            m[k] = betas[0] * m[k] + (1 - betas[0]) * a
            v[k] = betas[1] * v[k] + (1 - betas[1]) * a * a
        lack = (1 - betas[0] ** step, 1 - betas[1] ** step) if corrected else (1.0, 1.0)
        theta = [t - eta * (a / lack[0]) / (math.sqrt(b / lack[1]) + eps) for t, a, b in zip(theta, m, v, strict=True)]
        path.append(theta)
    return path


def gaussian_nll(mean: Sequence[Vector], variance: Sequence[Vector], target: Sequence[Vector]) -> Vector:
    """Of each example: minus the logarithm of the product of its columns' normal densities."""
    values = []
    for means, variances, ys in zip(mean, variance, target, strict=True):
        density = 1.0
        for mu, v, y in zip(means, variances, ys, strict=True):
            density *= math.exp(-((y - mu) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
        values.append(-math.log(density))
    return values


def bernoulli_nll(logits: Sequence[Vector], target: Sequence[Vector]) -> Vector:
    """Of each example: the sum over its columns of -(y log p + (1 - y) log (1 - p))."""
    values = []
    for zs, ys in zip(logits, target, strict=True):
        total = 0.0
        for z, y in zip(zs, ys, strict=True):
            p = 1 / (1 + math.exp(-z))
            total -= y * math.log(p) + (1 - y) * math.log(1 - p)
        values.append(total)
    return values


def softmax(logits: Vector) -> Vector:
    """z_k = exp(x_k) / sum_i exp(x_i)."""
    total = sum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


def categorical_nll(
    logits: Sequence[Vector], target: Sequence[int], smoothing: float = 0.0, weights: Vector | None = None
) -> Vector:
    """Of each example: minus the sum over classes of q_k w_k log p_k, q being 1 at the class, then smoothed."""
    values = []
    for zs, label in zip(logits, target, strict=True):
        p = softmax(zs)
        total = 0.0
        for k in range(len(zs)):
            q = (1 - smoothing) * (k == label) + smoothing / len(zs)
            total -= q * (weights[k] if weights else 1.0) * math.log(p[k])
        values.append(total)
    return values


def calibration_error(logits: Sequence[Vector], target: Sequence[int], bins: int) -> float:
    """The mean over examples of the distance of accuracy from confidence in the example's bin."""
    members: dict[int, list[tuple[float, bool]]] = {}
    for zs, label in zip(logits, target, strict=True):
        p = softmax(zs)
        confidence = max(p)
        members.setdefault(min(int(confidence * bins), bins - 1), []).append((confidence, p.index(confidence) == label))
    total = 0.0
    for bin_members in members.values():
        confidence = sum(c for c, _ in bin_members) / len(bin_members)
        right = sum(hit for _, hit in bin_members) / len(bin_members)
        total += len(bin_members) / len(target) * abs(right - confidence)
    return total


def pairs_in_order(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """The AUC: of all pairs of a positive and a negative, the share in the right order; a tie is half right."""
    right, pairs = 0.0, 0
    for a, is_positive in zip(scores, positive, strict=True):
        for b, is_other in zip(scores, positive, strict=True):
            if is_positive and not is_other:
                pairs += 1
                right += 1.0 if a > b else 0.5 if a == b else 0.0
    return right / pairs


def copied(
    logits: Vector, generates: float, weights: Vector, copies: Sequence[int], vocabulary: int, width: int
) -> Vector:
    """Of one position: the probability of each token of the extended vocabulary; 0 in `copies` is padding."""
    p = [generates * each for each in softmax(logits)] + [0.0] * (width - vocabulary)
    for weight, token in zip(weights, copies, strict=True):
        if token:
            p[token] += (1 - generates) * weight
    return p


def expected_alignment(stopping: Sequence[Vector]) -> list[Vector]:
    """Of each step the probability to stop at j: the sum over where the step before stopped of all that it passes."""
    source, found = len(stopping[0]), []
    before = [1.0] + [0.0] * (source - 1)
    for p in stopping:
        after = []
        for j in range(source):
            ways = 0.0
            for k in range(j + 1):
                ways += before[k] * math.prod(1 - p[between] for between in range(k, j))
            after.append(p[j] * ways)
        found.append(before := after)
    return found


def walk(energies: Sequence[Vector]) -> list[int]:
    """Where reading stops at each step: the first energy above 0 from where it stopped before, else the last place."""
    at, stops = 0, []
    for energy in energies:
        while at < len(energy) - 1 and energy[at] <= 0:
            at += 1
        stops.append(at)
    return stops


def chunkwise_weights(alignment: Vector, scores: Vector, chunk: int) -> Vector:
    """Each place that reading may stop at gives its probability to its chunk, by a softmax there."""
    weights = [0.0] * len(scores)
    for k, probability in enumerate(alignment):
        members = range(max(0, k - chunk + 1), k + 1)
        for j, share in zip(members, softmax([scores[m] for m in members]), strict=True):
            weights[j] += probability * share
    return weights


def guided_attention(weights: Sequence[Vector], width: float) -> float:
    """The mean over steps t and places n of A_tn (1 - exp(-(n / N - t / T)^2 / 2 g^2))."""
    steps, source, total = len(weights), len(weights[0]), 0.0
    for t, row in enumerate(weights):
        for n, weight in enumerate(row):
            total += weight * (1 - math.exp(-((n / source - t / steps) ** 2) / (2 * width**2)))
    return total / (steps * source)
