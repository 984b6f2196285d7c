"""Distances between two sets of images, each given by a feature vector per image. NumPy, float64.

Legend: n = images, d = feature dimensions.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np

from pipeline.data.randomness import generator
from pipeline.errors import Refusal
from pipeline.params import kinds, scoring
from pipeline.runner.job import Job


class Metric(Protocol):
    """A distance between two sets of pictures."""

    @classmethod
    def open(cls, params: Any, seed: int) -> Self:
        """The metric that an entry of ``score.metrics`` describes; ``seed``: of generate, for what it draws."""

    def __call__(self, drawn: np.ndarray, real: np.ndarray) -> dict[str, float]:
        """The distance as ``value`` (with its ``std`` where it is a mean) of features [n, d] each, n may differ.

        Raises:
            Refusal: it cannot be told from so few pictures, or from these features.
        """


def distances(job: Job, drawn: np.ndarray, real: np.ndarray) -> dict[str, dict[str, Any]]:
    """What each metric of a row of score gives, or why it refuses, under a name with that of the features.

    Args:
        job: a unit of score whose row names metrics.
        drawn: [n, d].
        real: [m, d].
    """
    results: dict[str, dict[str, Any]] = {}
    for name in job.row_params.metrics:
        entry = job.table_entry("metrics", name)
        metric: Metric = kinds.METRICS.class_of(entry).open(entry, job.plan.params.seeds.generate)
        try:
            results[f"{name}_{job.row_params.features}"] = {**metric(drawn, real)}
        except Refusal as refusal:
            results[f"{name}_{job.row_params.features}"] = {"refused": str(refusal)}
    return results


class KernelDistance:
    """KID: see ``kid``."""

    def __init__(self, params: scoring.Kid, seed: int) -> None:
        self.params, self.seed = params, seed

    @classmethod
    def open(cls, params: scoring.Kid, seed: int) -> Self:
        """The metric that an entry describes."""
        return cls(params, seed)

    def __call__(self, drawn: np.ndarray, real: np.ndarray) -> dict[str, float]:
        """Mean and standard deviation over subsets. Raises Refusal as ``kid`` does."""
        size, number = self.params.subset_size, self.params.num_subsets
        value, std = kid(drawn, real, subset_size=size, num_subsets=number, seed=self.seed)
        return {"value": value, "std": std}


class FrechetDistance:
    """The Frechet distance: see ``frechet_distance``."""

    @classmethod
    def open(cls, params: scoring.Fid, seed: int) -> Self:
        """The metric that an entry describes; nothing is drawn."""
        del params, seed
        return cls()

    def __call__(self, drawn: np.ndarray, real: np.ndarray) -> dict[str, float]:
        """The distance. Raises Refusal as ``frechet_distance`` does."""
        return {"value": frechet_distance(drawn, real)}


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Frechet distance of the two sets' Gaussian fits (Heusel et al. 2017, arXiv 1706.08500, equation 6).

    ``|mu_a - mu_b|^2 + trace(C_a + C_b - 2 (C_a C_b)^(1/2))`` with unbiased covariances. The trace of the root is the
    sum of the roots of the eigenvalues of ``C_a^(1/2) C_b C_a^(1/2)``, which is symmetric, so no complex root and no
    added epsilon is needed.

    Args:
        features_a: [n_a, d].
        features_b: [n_b, d].

    Raises:
        Refusal: the sets differ in d, hold values that are not finite, or one has not more images than dimensions.
    """
    a, b = _checked(features_a, features_b)
    dim = a.shape[1]
    for features in (a, b):
        if len(features) <= dim:
            raise Refusal(
                f"Frechet distance: {len(features)} images for {dim} feature dimensions; a covariance of rank below "
                f"{dim} makes the distance depend on the number of images: give more than {dim} images, or use kid"
            )
    covariance_a = np.atleast_2d(np.cov(a, rowvar=False))
    covariance_b = np.atleast_2d(np.cov(b, rowvar=False))
    values, vectors = np.linalg.eigh(covariance_a)
    root_a = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    product_values = np.linalg.eigvalsh(root_a @ covariance_b @ root_a)
    trace_of_root = np.sqrt(np.clip(product_values, 0, None)).sum()
    offset = a.mean(axis=0) - b.mean(axis=0)
    distance = offset @ offset + np.trace(covariance_a) + np.trace(covariance_b) - 2 * trace_of_root
    return float(max(distance, 0.0))


def squared_mmd(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel ``(x.y / d + 1)^3``; may be below zero.

    Source: Binkowski et al. 2018, arXiv 1801.01401, equation 4 and section 4.

    Args:
        features_a: [n_a, d], n_a at least 2.
        features_b: [n_b, d], n_b at least 2.
    """
    a, b = _checked(features_a, features_b)
    num_a, num_b = len(a), len(b)
    dim = a.shape[1]

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        values: np.ndarray = (x @ y.T / dim + 1) ** 3
        return values

    within_a, within_b = kernel(a, a), kernel(b, b)
    mean_a = (within_a.sum() - np.trace(within_a)) / (num_a * (num_a - 1))
    mean_b = (within_b.sum() - np.trace(within_b)) / (num_b * (num_b - 1))
    return float(mean_a + mean_b - 2 * kernel(a, b).mean())


def kid(
    features_a: np.ndarray, features_b: np.ndarray, *, subset_size: int, num_subsets: int, seed: int
) -> tuple[float, float]:
    """Kernel inception distance: mean and standard deviation of ``squared_mmd`` over random subsets.

    Subsets are drawn without replacement from each set on its own (arXiv 1801.01401). The deviation divides by
    ``num_subsets``: it describes the subsets, and is no error of the mean, since subsets overlap.

    Args:
        features_a: [n_a, d].
        features_b: [n_b, d].
        subset_size: images of each set in a subset, at least 2 and at most the smaller set.
        num_subsets: how many subsets, at least 1.
        seed: first coordinate of the draws.

    Raises:
        Refusal: the sets do not fit together, or the subset size or number is out of range.
    """
    a, b = _checked(features_a, features_b)
    if not 2 <= subset_size <= min(len(a), len(b)):
        raise Refusal(f"kid: subset_size {subset_size} must be from 2 to the smaller set's size {min(len(a), len(b))}")
    if num_subsets < 1:
        raise Refusal(f"kid: num_subsets {num_subsets} must be at least 1")
    values = []
    for subset in range(num_subsets):
        draws = generator(seed, "score", "kid", subset)
        rows_a = draws.choice(len(a), subset_size, replace=False)
        rows_b = draws.choice(len(b), subset_size, replace=False)
        values.append(squared_mmd(a[rows_a], b[rows_b]))
    return float(np.mean(values)), float(np.std(values))


def _checked(features_a: np.ndarray, features_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as float64 [n, d]."""
    a, b = np.asarray(features_a, dtype=np.float64), np.asarray(features_b, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise Refusal(f"features must be [images, dimensions] with equal dimensions, got {a.shape} and {b.shape}")
    for features in (a, b):
        broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(broken):
            raise Refusal(f"features of image {broken[0]} and {len(broken) - 1} more are not finite; look at them")
    return a, b
