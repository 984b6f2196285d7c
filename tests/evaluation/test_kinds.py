"""Benchmarks, judges, metrics and features from outside the package, through the real commands, with known scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from PIL import Image
from small_project import WORLD, plan_of, run_stage, small_parameters, write_parameters

from pipeline.dag.units import UnitId
from pipeline.data.images import decode
from pipeline.data.schema import IMAGES, VERDICTS, Column
from pipeline.data.shards import Shard
from pipeline.evaluation.benchmark import Drawn, Prompt, Scoring, Verdict
from pipeline.evaluation.dpg import Question
from pipeline.evaluation.dpg_benchmark import DpgBenchmark
from pipeline.evaluation.geneval import Detection
from pipeline.evaluation.judges import Answers
from pipeline.params import benchmarks, kinds, scoring
from pipeline.params.load import section_types
from pipeline.params.schema import Execution
from pipeline.params.types import Positive, Text
from pipeline.runner.job import Job

pytest.importorskip("torch")

COLORS = ("red", "green", "blue")
NUM_REAL = 6


class ColorsParams(benchmarks.Benchmark, tag="toy_colors", frozen=True, kw_only=True):
    needs_judge: ClassVar[benchmarks.Role | None] = "detector"

    colors: list[Text]


class QuestionsParams(benchmarks.Benchmark, tag="toy_questions", frozen=True, kw_only=True):
    needs_judge: ClassVar[benchmarks.Role | None] = "answerer"

    colors: list[Text]


class EyeParams(scoring.Judge, tag="toy_eye", frozen=True, kw_only=True):
    roles: ClassVar[tuple[benchmarks.Role, ...]] = ("detector", "answerer")

    brightest: Positive


class BlindParams(scoring.Judge, tag="toy_blind", frozen=True, kw_only=True):
    pass


class GapParams(scoring.Metric, tag="toy_gap", frozen=True, kw_only=True):
    factor: Positive


class MeanColorParams(scoring.Features, tag="toy_mean_color", frozen=True, kw_only=True):
    pass


class Colors:
    def __init__(self, params: ColorsParams) -> None:
        self.params = params

    @classmethod
    def open(cls, params: ColorsParams) -> Self:
        return cls(params)

    def prompts(self, job: Job) -> list[Prompt]:
        return [{"prompt_id": color, "prompt": f"all {color}", "wanted": color} for color in self.params.colors]

    def judge(self, asked: Sequence[tuple[Drawn, Prompt]], judge: Any) -> list[Verdict]:
        objects = judge.detect([drawn.image for drawn, _ in asked])
        return [
            Verdict(drawn.prompt_id, drawn.image_index, "colors", seen.class_name == prompt["wanted"])
            for (drawn, prompt), (seen,) in zip(asked, objects, strict=True)
        ]

    def metrics(self, verdicts: Sequence[Verdict], scoring: Scoring) -> dict[str, Any]:
        return {"kind": "toy_colors", "share": float(np.mean([bool(one.correct) for one in verdicts]))}


class Questions(DpgBenchmark):
    kind = "toy_questions"

    def prompts(self, job: Job) -> list[Prompt]:
        return [
            {
                **{"prompt_id": color, "prompt": color, "tag": "one"},
                "questions": (Question(1, (), "attribute", "attribute - color", color),),
            }
            for color in self.params.colors
        ]


class Eye:
    """Sees which channel is the strongest, and is as sure of a colour as it is bright."""

    def __init__(self, params: EyeParams) -> None:
        self.params = params

    @classmethod
    def open(cls, params: EyeParams, execution: Execution) -> Self:
        return cls(params)

    def _means(self, picture: Image.Image) -> np.ndarray:
        means: np.ndarray = np.asarray(picture, dtype=np.float64).mean(axis=(0, 1))
        return means

    def detect(self, pictures: Sequence[Image.Image]) -> list[list[Detection]]:
        names = [COLORS[int(self._means(picture).argmax())] for picture in pictures]
        return [[Detection(name, 1.0, (0.0, 0.0, 1.0, 1.0), None, name)] for name in names]

    def classify_color(self, picture: Image.Image, class_name: str, detections: Sequence[Detection]) -> list[str]:
        return [one.color or "" for one in detections]

    def answer(self, pictures: Sequence[Image.Image], questions: Sequence[Sequence[Question]]) -> list[Answers]:
        return [
            Answers(
                tuple(float(self._means(picture)[COLORS.index(one.text)] / self.params.brightest) for one in asked),
                None,
                {},
            )
            for picture, asked in zip(pictures, questions, strict=True)
        ]


class Gap:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    @classmethod
    def open(cls, params: GapParams, seed: int) -> Self:
        return cls(params.factor)

    def __call__(self, drawn: np.ndarray, real: np.ndarray) -> dict[str, float]:
        return {"value": float(self.factor * abs(drawn.mean() - real.mean()))}


class MeanColor:
    @classmethod
    def open(cls, params: MeanColorParams, execution: Execution) -> Self:
        return cls()

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        return np.array([np.asarray(image, dtype=np.float64).mean(axis=(0, 1)) for image in images])


ADDED = (
    (kinds.BENCHMARKS, ColorsParams, Colors),
    (kinds.BENCHMARKS, QuestionsParams, Questions),
    (kinds.JUDGES, EyeParams, Eye),
    (kinds.JUDGES, BlindParams, Eye),
    (kinds.METRICS, GapParams, Gap),
    (kinds.FEATURES, MeanColorParams, MeanColor),
)


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    with ExitStack() as stack:
        for table, params_type, made in ADDED:
            stack.enter_context(table.added(params_type, f"{__name__}:{made.__name__}"))
        yield


def parameters(**judges: float) -> dict[str, Any]:
    """Pictures made elsewhere for three benchmarks; ``judges``: how bright the brightest is to each of the two."""
    bright = {"eye": 255.0, "mind": 255.0} | judges
    wanted = {"colors": ["red", "blue"], "num_shards": 1}
    return small_parameters(
        download={"rows": {"pictures": {**WORLD, "num_rows": NUM_REAL, "num_shards": 1}}},
        generate={
            "benchmarks": {
                "toy_colors": {"kind": "toy_colors", "num_images": 2, **wanted},
                "toy_questions": {"kind": "toy_questions", "num_images": 1, **wanted},
                "own": {"kind": "captions", "captions": "recaption/pictures-label", "num_images": 1, "num_shards": 1},
            },
            "rows": {
                "drawn": {
                    **{"import": "drawn", "arm": "drawn", "seed": 0, "max_image_pixels": 1000},
                    "benchmarks": ["toy_colors", "toy_questions", "own"],
                }
            },
        },
        score={
            "judges": {name: {"kind": "toy_eye", "brightest": value} for name, value in bright.items()},
            **{"detector": "eye", "answerer": "mind", "features": "mean"},
            "metrics": {
                "toy_gap": {"kind": "toy_gap", "factor": 2.0},
                "toy_gap-half": {"kind": "toy_gap", "factor": 0.5},
            },
            "feature_extractors": {"mean": {"kind": "toy_mean_color", "side_px": 64, "demo": True}},
            "rows": {
                "drawn": {
                    "images": "generate/drawn",
                    "real": "download/pictures",
                    "metrics": ["toy_gap", "toy_gap-half"],
                }
            },
        },
    )


def put(folder: Path, name: str, color: tuple[int, int, int]) -> None:
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(path)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    colors = tmp_path / "drawn/toy_colors"
    for name, color in (("red/0", (200, 0, 0)), ("red/1", (0, 0, 9)), ("blue/0", (9, 0, 90)), ("blue/1", (0, 1, 2))):
        put(colors, name, color)
    put(tmp_path / "drawn/toy_questions", "red/0", (255, 0, 0))
    put(tmp_path / "drawn/toy_questions", "blue/0", (0, 0, 100))
    write_parameters(tmp_path / "params.yaml", parameters())
    return tmp_path


def real_means(project: Path) -> dict[str, float]:
    """Key -> mean of all values of the real picture."""
    plan = plan_of(project)
    path = plan.made_folder(UnitId("download", "pictures", "0")) / "00000.parquet"
    rows = Shard(path, IMAGES).rows([Column.KEY, Column.IMAGE])
    return {row[Column.KEY]: float(np.asarray(decode(row[Column.IMAGE], max_pixels=10_000)).mean()) for row in rows}


def test_kinds_from_outside_give_true_scores_through_the_real_commands(project: Path) -> None:
    assert run_stage("download", "pictures") == 0
    assert run_stage("recaption", "pictures-label") == 0
    real = real_means(project)
    assert len(real) == NUM_REAL
    for key in real:
        put(project / "drawn/own", f"{key}/0", (51, 51, 51))
    assert run_stage("generate", "drawn") == 0
    assert run_stage("score", "drawn") == 0
    folder = project / "data/small/score/drawn"
    metrics = {name: json.loads((folder / name / "metrics.json").read_text()) for name in ("toy_colors", "own")}
    assert metrics["toy_colors"] == {"kind": "toy_colors", "share": 0.75}
    rows = Shard(folder / "toy_colors/verdicts.parquet", VERDICTS).rows(
        [Column.PROMPT_ID, Column.IMAGE_INDEX, Column.CORRECT, Column.REASON]
    )
    assert [tuple(row.values()) for row in rows] == [
        ("red", 0, True, None),
        ("red", 1, False, None),
        ("blue", 0, True, None),
        ("blue", 1, True, None),
    ]
    questions = json.loads((folder / "toy_questions/metrics.json").read_text())
    assert (questions["kind"], questions["overall"]) == ("toy_questions", 0.5), "100 of 255 is no yes"
    assert metrics["own"]["num_generated"] == metrics["own"]["num_real"] == NUM_REAL
    assert metrics["own"]["features"] == {"name": "mean", "demo": True, "dim": 3}
    gap = abs(51 - np.mean(list(real.values())))
    distances = {name: one["value"] for name, one in metrics["own"]["distances"].items()}
    assert distances == pytest.approx({"toy_gap_mean": 2 * gap, "toy_gap-half_mean": gap / 2})


def test_a_judge_that_is_killed_is_asked_about_the_rest_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = parameters()
    raw["execution"]["inference_batch_size"] = 1
    raw["generate"]["benchmarks"]["toy_colors"]["num_shards"] = 2
    raw["generate"]["rows"]["drawn"]["benchmarks"] = ["toy_colors"]
    raw["score"]["rows"]["drawn"] = {"images": "generate/drawn"}
    write_parameters(project / "params.yaml", raw)
    assert run_stage("generate", "drawn") == 0
    seen: list[bytes] = []
    detect = Eye.detect

    def dying(self: Eye, pictures: Sequence[Image.Image]) -> list[list[Detection]]:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.extend(picture.tobytes() for picture in pictures)
        return detect(self, pictures)

    monkeypatch.setattr(Eye, "detect", dying)
    assert run_stage("score", "drawn") != 0
    assert len(seen) == 3
    folder = project / "data/small/score/drawn/toy_colors"
    monkeypatch.setattr(Eye, "detect", lambda self, pictures: seen.append(b"") or detect(self, pictures))
    assert run_stage("score", "drawn") == 0
    assert len(seen) == 4, "two in the first shard, one in the second, and now the last alone"
    assert json.loads((folder / "metrics.json").read_text()) == {"kind": "toy_colors", "share": 0.75}
    whole = [
        row
        for name in ("00000", "00001")
        for row in Shard(folder / f"{name}.parquet", VERDICTS).rows(VERDICTS.schema.names)
    ]
    assert list(Shard(folder / "verdicts.parquet", VERDICTS).rows(VERDICTS.schema.names)) == whole


def test_verdicts_come_back_as_they_were_given() -> None:
    seen = Detection("cat", 0.5, (0.0, 1.0, 2.0, 3.0), None, "red")
    verdict = Verdict("a", 1, "colors", False, "why", [seen], [(3, 0.25)], '{"x": 1}')
    assert Verdict.of({str(name): value for name, value in verdict.columns().items()}) == verdict
    bare = Verdict("a", 1, "colors")
    assert Verdict.of({str(name): value for name, value in bare.columns().items()}) == bare


def of_parts(project: Path, raw: dict[str, Any]) -> dict[str, str | None]:
    write_parameters(project / "other.yaml", raw)
    plan = plan_of(project, "other.yaml")
    parts = ("toy_colors", "toy_questions", "own")
    return {part: plan.fingerprints.of(UnitId("score", "drawn", part)) for part in parts}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda raw: raw["score"]["judges"]["mind"].update(brightest=100.0), "toy_questions"),
        (lambda raw: raw["score"]["judges"]["eye"].update(brightest=100.0), "toy_colors"),
        (lambda raw: raw["score"]["metrics"]["toy_gap"].update(factor=3.0), "own"),
        (lambda raw: raw["score"]["rows"]["drawn"]["metrics"].pop(), "own"),
        (lambda raw: raw["score"]["feature_extractors"]["mean"].update(demo=False), "own"),
    ],
    ids=["answerer", "detector", "metric", "one metric less", "features"],
)
def test_a_change_voids_what_was_judged_by_it_alone(project: Path, change: Any, part: str) -> None:
    assert run_stage("download", "pictures") == 0
    before = of_parts(project, parameters())
    assert None not in before.values()
    raw = parameters()
    change(raw)
    after = of_parts(project, raw)
    assert {name for name in before if before[name] != after[name]} == {part}


def test_another_answerer_of_the_same_values_voids_nothing(project: Path) -> None:
    assert run_stage("download", "pictures") == 0
    raw = parameters()
    raw["score"]["answerer"] = "eye"
    assert of_parts(project, raw) == of_parts(project, parameters())


def refusal(project: Path, raw: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    write_parameters(project / "params.yaml", raw)
    assert run_stage("download", "pictures") == 1
    return capsys.readouterr().err.strip()


REFUSED = [
    ("answerer", None, "answerer = None: toy_questions is judged by one: name an entry of score.judges"),
    ("detector", "none", "detector = 'none': no such entry; score.judges has blind, eye, mind"),
    ("answerer", "blind", "answerer = 'blind': is of kind toy_blind, which can be no answerer; name another judge"),
    ("metrics", None, "metrics = None: real pictures and metrics go together: name both, or neither"),
    ("metrics", ["toy_gap", "toy_gap"], "metrics = ['toy_gap', 'toy_gap']: names a metric twice"),
    ("metrics", ["gap"], "metrics = 'gap': is of kind toy_gap: name it toy_gap or toy_gap-<suffix>"),
]


@pytest.mark.parametrize(("key", "value", "line"), REFUSED, ids=[f"{case[0]} {case[1]}" for case in REFUSED])
def test_judges_and_metrics_that_do_not_fit_are_refused_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], key: str, value: Any, line: str
) -> None:
    raw = parameters()
    raw["score"]["judges"]["blind"] = {"kind": "toy_blind"}
    raw["score"]["metrics"]["gap"] = raw["score"]["metrics"]["toy_gap"]
    raw["score"]["rows"]["drawn"][key] = value
    assert refusal(project, raw, capsys).endswith(f"score.rows.drawn.{key}{line.removeprefix(key)}")


def test_kinds_are_gone_with_the_block() -> None:
    class Other(scoring.Metric, tag="other", frozen=True, kw_only=True):
        pass

    with kinds.METRICS.added(Other, f"{__name__}:Gap"):
        assert "Other" in str(section_types()["score"].tables["metrics"])
    assert "Other" not in str(section_types()["score"].tables["metrics"])
