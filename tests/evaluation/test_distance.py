"""Distances between feature sets against closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.data.randomness import generator
from pipeline.errors import Refusal
from pipeline.evaluation.distance import frechet_distance, kid, squared_mmd


def whitened(num_images: int, dim: int, *coordinates: str) -> np.ndarray:
    """Vectors whose sample mean is exactly 0 and whose unbiased covariance is exactly the identity."""
    x = generator(0, *coordinates).normal(size=(num_images, dim))
    x -= x.mean(axis=0)
    q, _ = np.linalg.qr(x)
    return q * np.sqrt(num_images - 1)


def test_frechet_distance_of_equal_sets_is_zero() -> None:
    x = generator(0, "equal").normal(size=(50, 6)) @ np.diag([9, 1, 1, 0.1, 0.01, 5])
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_a_shift_is_its_squared_length() -> None:
    x = whitened(40, 4, "shift")
    shift = np.array([3.0, 0.0, -4.0, 0.0])
    assert frechet_distance(x, x + shift) == pytest.approx(25.0)


def test_frechet_distance_of_commuting_covariances() -> None:
    scales_a, scales_b = np.array([1.0, 2.0, 5.0]), np.array([3.0, 2.0, 0.5])
    turn, _ = np.linalg.qr(generator(0, "turn").normal(size=(3, 3)))
    a = (whitened(30, 3, "a") * scales_a) @ turn
    b = (whitened(60, 3, "b") * scales_b) @ turn
    # equal eigenvectors: sum of squared differences of the standard deviations
    assert frechet_distance(a, b) == pytest.approx(((scales_a - scales_b) ** 2).sum())


def test_frechet_distance_of_covariances_that_do_not_commute() -> None:
    """Against the trace of the root of the unsymmetric product, 2 x 2: sqrt(trace + 2 sqrt(det))."""
    mix_a, mix_b = np.array([[2.0, 0.5], [0.0, 1.0]]), np.array([[1.0, 0.0], [-1.5, 0.7]])
    a, b = whitened(30, 2, "a") @ mix_a, whitened(30, 2, "b") @ mix_b
    covariance_a, covariance_b = mix_a.T @ mix_a, mix_b.T @ mix_b
    product = covariance_a @ covariance_b
    root_trace = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(covariance_a) + np.trace(covariance_b) - 2 * root_trace
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(b, a) == pytest.approx(expected)


def test_frechet_distance_refuses_fewer_images_than_dimensions() -> None:
    enough, few = generator(0, "f").normal(size=(20, 8)), generator(0, "g").normal(size=(8, 8))
    with pytest.raises(Refusal, match="8 images for 8 feature dimensions"):
        frechet_distance(enough, few)


@pytest.mark.parametrize("broken", [np.zeros((20, 3)), np.full((20, 4), np.nan), np.zeros(20)])
def test_features_that_do_not_fit_are_refused(broken: np.ndarray) -> None:
    good = generator(0, "good").normal(size=(20, 4))
    with pytest.raises(Refusal):
        frechet_distance(good, broken)
    with pytest.raises(Refusal):
        kid(good, broken, subset_size=5, num_subsets=2, seed=0)


def test_squared_mmd_equals_the_sum_over_pairs() -> None:
    a, b = generator(0, "a").normal(size=(5, 3)), generator(0, "b").normal(size=(4, 3)) + 1

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((sum(x[i] * y[i] for i in range(3)) / 3 + 1) ** 3)

    within_a = np.mean([kernel(x, y) for x, y in itertools.permutations(a, 2)])
    within_b = np.mean([kernel(x, y) for x, y in itertools.permutations(b, 2)])
    between = np.mean([kernel(x, y) for x in a for y in b])
    assert squared_mmd(a, b) == pytest.approx(within_a + within_b - 2 * between)


def test_squared_mmd_of_two_constant_sets() -> None:
    """All vectors of a set equal: |phi(x) - phi(y)|^2 = k(x,x) + k(y,y) - 2 k(x,y)."""
    a, b = np.tile([1.0, 1.0], (3, 1)), np.tile([1.0, -1.0], (4, 1))
    assert squared_mmd(a, b) == pytest.approx(8 + 8 - 2 * 1)


def test_squared_mmd_is_unbiased_on_equal_distributions() -> None:
    values = [
        squared_mmd(generator(i, "u").normal(size=(12, 4)), generator(i, "v").normal(size=(12, 4))) for i in range(400)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 3 * error


def test_kid_over_whole_sets_has_no_spread() -> None:
    a, b = generator(0, "a").normal(size=(9, 3)), generator(0, "b").normal(size=(9, 3)) + 2
    mean, std = kid(a, b, subset_size=9, num_subsets=3, seed=1)
    assert mean == pytest.approx(squared_mmd(a, b))
    assert std == pytest.approx(0, abs=1e-12)


def test_kid_tells_a_near_set_from_a_far_one_and_repeats() -> None:
    a = generator(0, "a").normal(size=(60, 4))
    near, far = generator(0, "n").normal(size=(50, 4)), generator(0, "f").normal(size=(50, 4)) + 1
    mean_near, _ = kid(a, near, subset_size=25, num_subsets=20, seed=0)
    mean_far, std_far = kid(a, far, subset_size=25, num_subsets=20, seed=0)
    assert mean_far > 10 * abs(mean_near)
    assert kid(a, far, subset_size=25, num_subsets=20, seed=0) == (mean_far, std_far)
    assert kid(a, far, subset_size=25, num_subsets=20, seed=1) != (mean_far, std_far)


@pytest.mark.parametrize(("subset_size", "num_subsets"), [(1, 3), (11, 3), (5, 0)])
def test_kid_refuses_subsets_out_of_range(subset_size: int, num_subsets: int) -> None:
    x = generator(0, "x").normal(size=(10, 3))
    with pytest.raises(Refusal, match="kid"):
        kid(x, x, subset_size=subset_size, num_subsets=num_subsets, seed=0)
