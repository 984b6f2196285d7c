"""The style probe on features of known truth, the AUC against pairs counted by hand, both on rendered pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from pipeline.data.randomness import generator
from pipeline.errors import Refusal
from pipeline.evaluation.style_probe import area_under_curve, fit_probe

PROJECT = Path(__file__).resolve().parents[2]
DIM = 5


def clouds(distance: float, num_each: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Two normal clouds that differ along one direction, after a stretch and a shift that hide it."""
    draws = generator("test", "style_probe", distance)
    first, second = draws.normal(size=(2, num_each, DIM))
    second[:, 2] += distance
    stretch = np.array([1.0, 50.0, 0.01, 3.0, 1.0])
    return first * stretch + 7.0, second * stretch + 7.0


def test_the_probe_finds_the_one_direction_that_tells_them_apart() -> None:
    first, second = clouds(6.0)
    probe = fit_probe(first[:100], second[:100], 0.01)
    assert np.abs(probe.weights).argmax() == 2
    assert area_under_curve(probe(first[100:]), probe(second[100:])) > 0.999
    assert probe(first[100:]).mean() < 0.1
    assert probe(second[100:]).mean() > 0.9
    np.testing.assert_array_equal(fit_probe(first, second, 0.01).weights, fit_probe(first, second, 0.01).weights)


def test_what_cannot_be_told_apart_is_not() -> None:
    first, second = clouds(0.0)
    probe = fit_probe(first[:100], second[:100], 0.01)
    assert 0.35 < area_under_curve(probe(first[100:]), probe(second[100:])) < 0.65


def test_the_fit_is_the_minimum_whatever_the_numbers_of_pictures() -> None:
    """Against another method of search; styles weigh one half each, so a style given twice changes nothing."""
    first, second = clouds(1.0)
    second, l2 = second[:40], 0.1
    probe = fit_probe(first, second, l2)

    def loss(weights: np.ndarray) -> float:
        logits = [(one - probe.mean) / probe.scale @ weights[:-1] + weights[-1] for one in (first, second)]
        return float(
            (np.logaddexp(0, logits[0]).mean() + np.logaddexp(0, -logits[1]).mean()) / 2
            + l2 / 2 * weights[:-1] @ weights[:-1]
        )

    found = minimize(loss, np.zeros(DIM + 1), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(np.append(probe.weights, probe.bias), found, atol=1e-5)


def test_a_feature_that_never_varies_does_no_harm() -> None:
    first, second = (np.pad(cloud, ((0, 0), (0, 1)), constant_values=3.0) for cloud in clouds(6.0))
    probe = fit_probe(first, second, 0.01)
    assert probe.weights[-1] == 0
    assert np.isfinite(probe(first)).all()


@pytest.mark.parametrize(
    ("first", "second", "area"),
    [
        ([1, 2, 3], [4, 5], 1.0),
        ([4, 5], [1, 2, 3], 0.0),
        ([1, 3], [2, 4], 3 / 4),  # of four pairs 1<2, 1<4, 3<4
        ([1, 1], [1, 1, 1], 1 / 2),  # all tied
        ([1, 2], [2, 3], (1 + 1 + 1 / 2 + 1) / 4),  # one pair of four tied
        ([0, 5, 5], [5, 9], (1 + 1 + 1 / 2 + 1 + 1 / 2 + 1) / 6),
    ],
)
def test_the_area_counts_pairs_and_ties_by_half(first: list[float], second: list[float], area: float) -> None:
    assert area_under_curve(np.array(first), np.array(second)) == pytest.approx(area)


def test_the_demos_features_tell_plain_from_aesthetic_pictures() -> None:
    """As the demo's parameters ask: fitted on some scenes, checked on others, AUC at least 0.95."""
    pytest.importorskip("torch")
    from pipeline.demo.world.render import render
    from pipeline.demo.world.scene import scene_of
    from pipeline.evaluation.features import VisionTowerFeatures

    extract = VisionTowerFeatures(PROJECT / "data/demo_models/vlm", "cpu")

    def features(style: str, start: int, stop: int) -> np.ndarray:
        scenes = [
            scene_of(f"scene-{number:07d}", seed=0, style=style, layout="corners", side_px=64, several=0.0)
            for number in range(start, stop)
        ]
        return extract([render(scene) for scene in scenes])

    probe = fit_probe(features("plain", 0, 150), features("aesthetic", 0, 150), 0.01)
    heldout = [probe(features(style, 800, 900)) for style in ("plain", "aesthetic")]
    assert area_under_curve(*heldout) >= 0.95
    assert heldout[0].mean() < 0.1
    assert heldout[1].mean() > 0.9


def test_what_cannot_be_fitted_or_asked_is_refused() -> None:
    first, second = clouds(1.0)
    with pytest.raises(Refusal, match=r"pictures of the second style have features \(1, 5\); give \[n, d\] of 2"):
        fit_probe(first, second[:1], 0.1)
    with pytest.raises(Refusal, match="the two styles have 5 and 4 dimensions"):
        fit_probe(first, second[:, :4], 0.1)
    with pytest.raises(Refusal, match="l2 is 0"):
        fit_probe(first, second, 0.0)
    broken = first.copy()
    broken[3, 1] = np.nan
    with pytest.raises(Refusal, match="features of pictures of the first style are not finite"):
        fit_probe(broken, second, 0.1)
    with pytest.raises(Refusal, match="fitted on 5 feature dimensions, asked with 4"):
        fit_probe(first, second, 0.1)(first[:, :4])
    with pytest.raises(Refusal, match="AUC: needs scores of both kinds"):
        area_under_curve(np.array([]), np.array([1.0]))
