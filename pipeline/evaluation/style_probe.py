"""A linear probe between two styles of pictures on features of an image encoder, and how well it tells them apart.

It stands where an aesthetic predictor on CLIP features stands at full size: the same idea (a linear model on frozen
features), fitted on two data sets instead of on people's ratings. NumPy, float64, no random draw: the same features
give the same probe.

Legend: n = pictures, d = feature dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from pipeline.errors import Refusal

MAX_NEWTON_STEPS = 100
LARGEST_GRADIENT = 1e-9  # of the mean loss, where the search ends
MIN_SCALE = 1e-9  # features that vary less than this are no features


@dataclass(frozen=True, slots=True)
class StyleProbe:
    """Logistic regression on standardised features.

    Attributes:
        mean, scale: float64 [d], mean and standard deviation of the features that it was fitted on.
        weights: float64 [d], of the standardised features.
        bias: a number.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The probability of the second style for each picture, float64 [n], from features [n, d].

        Raises:
            Refusal: the features are not [n, d], or not finite.
        """
        features = checked_features("pictures", features, 1)
        if features.shape[1] != len(self.mean):
            raise Refusal(f"style probe: fitted on {len(self.mean)} feature dimensions, asked with {features.shape[1]}")
        probabilities: np.ndarray = expit((features - self.mean) / self.scale @ self.weights + self.bias)
        return probabilities


def checked_features(what: str, features: np.ndarray, min_pictures: int) -> np.ndarray:
    """Features as float64 [n, d].

    Raises:
        Refusal: they are no [n, d], of fewer pictures than ``min_pictures``, or not finite.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < min_pictures:
        raise Refusal(
            f"style probe: {what} have features {features.shape}; give [n, d] of {min_pictures} or more pictures"
        )
    if not np.isfinite(features).all():
        raise Refusal(f"style probe: features of {what} are not finite; look at the encoder and the pictures")
    return features


def fit_probe(first: np.ndarray, second: np.ndarray, l2: float) -> StyleProbe:
    """The probe that gives the second style's pictures a probability near 1 and the first's one near 0.

    Minimises the mean over both styles, each weighing one half, of the logistic loss plus ``l2 / 2 * |weights|^2``
    (the bias is free) by Newton's method with halved steps: Hastie, Tibshirani and Friedman, "The Elements of
    Statistical Learning", section 4.4.1. With l2 > 0 the minimum exists and is the only one, whether or not the two
    can be told apart.

    Args:
        first: [n_1, d], n_1 at least 2.
        second: [n_2, d], n_2 at least 2.
        l2: strength of the penalty, above 0.

    Raises:
        Refusal: too few pictures, features that do not fit together or are not finite, or no penalty.
    """
    styles = [checked_features("pictures of the first style", first, 2)]
    styles.append(checked_features("pictures of the second style", second, 2))
    if styles[0].shape[1] != styles[1].shape[1]:
        raise Refusal(f"style probe: the two styles have {styles[0].shape[1]} and {styles[1].shape[1]} dimensions")
    if l2 <= 0:
        raise Refusal(f"style probe: l2 is {l2}; give a penalty above 0, or styles that can be told apart have no fit")
    features = np.concatenate(styles)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > MIN_SCALE, scale, 1.0)
    design = np.concatenate([(features - mean) / scale, np.ones((len(features), 1))], axis=1)  # [n, d + 1]
    target = np.repeat([0.0, 1.0], [len(style) for style in styles])
    share = np.repeat([0.5 / len(style) for style in styles], [len(style) for style in styles])
    penalty = np.append(np.full(len(mean), l2), 0.0)
    weights = _minimum(design, target, share, penalty)
    return StyleProbe(mean, scale, weights[:-1], float(weights[-1]))


def _minimum(design: np.ndarray, target: np.ndarray, share: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Weights float64 [d + 1] of the least penalised loss over pictures that weigh ``share`` each."""

    def loss(weights: np.ndarray) -> float:
        logits = design @ weights
        return float(share @ (np.logaddexp(0.0, logits) - target * logits) + penalty @ weights**2 / 2)

    weights = np.zeros(design.shape[1])
    for _ in range(MAX_NEWTON_STEPS):
        probability = expit(design @ weights)
        gradient = design.T @ (share * (probability - target)) + penalty * weights
        if np.abs(gradient).max() <= LARGEST_GRADIENT:
            return weights
        curvature = share * probability * (1.0 - probability)
        step = np.linalg.solve((design * curvature[:, None]).T @ design + np.diag(penalty), gradient)
        here, length = loss(weights), 1.0
        while loss(weights - length * step) > here and length > 1e-6:
            length /= 2
        weights = weights - length * step
    raise Refusal(f"style probe: no minimum in {MAX_NEWTON_STEPS} steps; raise l2")


def area_under_curve(first: np.ndarray, second: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a picture of the second style scores above one of the first.

    Ties count one half (Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve"), computed from
    ranks (Mann and Whitney).

    Args:
        first: scores [n_1].
        second: scores [n_2].

    Raises:
        Refusal: either set is empty, or a score is not a number.
    """
    scores = np.concatenate([np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)])
    num_first, num_second = len(first), len(second)
    if not num_first or not num_second or np.isnan(scores).any():
        raise Refusal(f"AUC: needs scores of both kinds, all numbers; got {num_first} and {num_second}")
    ranks = rankdata(scores)  # from 1; equal scores share their mean rank
    wins = ranks[num_first:].sum() - num_second * (num_second + 1) / 2
    return float(wins / (num_first * num_second))
