"""Captions that others published: joined with the right pictures, counted, refused where they are somebody else's."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sandbox
from published_project import (
    IDS,
    ROW,
    captions,
    make_imagenet,
    make_pictures,
    parameters,
    published,
    recaptioned,
    rows,
    shards,
    start,
    told,
)
from small_project import plan_of, run_stage, write_parameters

from pipeline.dag.units import INDEX, MANIFEST, UnitId
from pipeline.data.schema import Column
from pipeline.errors import Refusal
from pipeline.runner import gc
from pipeline.store.entries import Kind
from pipeline.store.surplus import surplus_of

CAPTIONS = {source_id: f'The {number}. "picture", with a\ttab' for number, source_id in enumerate(IDS)}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_imagenet(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(named: dict[str, str]) -> str:
    return "".join(f"{name}\t{caption}\n" for name, caption in named.items())


def refused(capfd: pytest.CaptureFixture[str]) -> str:
    capfd.readouterr()
    assert run_stage("recaption", ROW) == 1
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    "spelling",
    [
        "{id}",
        "{id}.JPEG",
        "{id}.JPEG:",  # as one published set writes names
        "{wnid}/{id}.JPEG",
        "./train/{wnid}/{id}",
        "{id}_{wnid}.JPEG",
    ],
)
def test_each_picture_has_its_own_caption_however_it_is_called(project: Path, spelling: str) -> None:
    named = {spelling.format(id=name, wnid=name.partition("_")[0]): text for name, text in CAPTIONS.items()}
    (project / "captions.tsv").write_text(lines(dict(reversed(named.items()))))
    assert recaptioned(project, published()) == CAPTIONS
    assert {(row[Column.CAPTIONER], row[Column.INSTRUCTION], row[Column.FINISH_REASON]) for row in rows(project)} == {
        ("a model", "", "template")
    }


def test_what_one_side_lacks_is_counted_and_said(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    some = dict(list(CAPTIONS.items())[:7])
    table = lines(some) + lines({"n09999999_1": "nobody's", IDS[0]: some[IDS[0]], IDS[8]: " ", IDS[6]: "???"})
    (project / "captions.tsv").write_text(table)
    found = recaptioned(project, published(several="draw"))
    assert found == {name: some.get(name) for name in IDS}
    said = next(line for line in capfd.readouterr().err.splitlines() if "pictures have a caption" in line)
    assert "7 of 10 pictures have a caption in 11 rows; the first without one: '" in said
    assert "1 rows name no picture, the first 'n09999999_1'; 1 hold no caption; 1 say the same again" in said
    assert "1 picture has several captions, of which one is drawn" in said
    for part in (INDEX, MANIFEST):
        counted = told(project, part)
        assert counted["unmatched_rows"] == ["n09999999_1"]
        assert sorted(counted["unmatched_pictures"]) == sorted(IDS[7:])
        numbers = [counted[f"num_{what}"] for what in ("pictures", "matched", "table_rows", "same", "several")]
        assert numbers == [10, 7, 11, 1, 1]
        assert counted["table"]["written_by"] == "a model"
    rejects = {reject.key.partition("/")[2]: reject.reason for shard in shards(project) for reject in shard.rejects}
    assert rejects == dict.fromkeys(IDS[7:], "no_caption")


def test_too_few_captions_stop_the_stage_with_names_of_either_side(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / "captions.tsv").write_text(lines({f"picture {name}": text for name, text in CAPTIONS.items()}))
    start(project, published(min_matched_fraction=0.9))
    said = refused(capfd)
    assert (
        f"recaption/{ROW} index: 0 of 10 pictures have a caption in the table's 10 rows, and min_matched_fraction"
        in said
    )
    first = [f"'picture {name}'" for name in IDS[:3]]
    assert f"rows without a picture: {', '.join(first)}; " in said
    without = said.partition("pictures without one: ")[2].partition("; rows")[0].split(", ")
    assert len(without) == 3
    assert {name.strip("'") for name in without} <= set(IDS)
    assert not plan_of(project).is_made(UnitId("recaption", ROW, INDEX))


def test_captions_that_differ_are_refused_or_drawn(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    both = lines(CAPTIONS) + lines({name: f"another of {name}" for name in IDS[:5]})
    (project / "captions.tsv").write_text(both)
    start(project, published())
    said = refused(capfd)
    assert "5 pictures have captions that differ: " in said
    assert said.count("' and 'another of n01440764_") == 3
    assert "write several: draw" in said

    write_parameters(project / "params.yaml", parameters(published(several="draw")))
    assert run_stage("recaption", ROW) == 0
    first = captions(project)
    assert all(first[name] in (CAPTIONS[name], f"another of {name}") for name in IDS[:5])
    assert {name: first[name] for name in IDS[5:]} == dict(list(CAPTIONS.items())[5:])


def test_of_several_captions_each_is_drawn_as_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.captioners.base import Caption, Picture, Setting
    from pipeline.captioners.published import PublishedCaptioner
    from pipeline.params.load import convert

    converted = convert(parameters(published()), "params.yaml")
    execution, params = converted.execution, converted.sections["recaption"].tables["captioners"]["others"]
    texts = [("long", "short", "middle")] * 3000
    captioner = PublishedCaptioner(params, Setting(execution, 0, "download/x", 0, None, None, texts))

    def view(side_px: int) -> Any:
        raise AssertionError(side_px)

    pictures = [Picture(number, f"x/{number}", None, (), view) for number in range(3000)]
    drawn = [
        caption.text if isinstance(caption, Caption) else caption.reason for caption in captioner.caption(pictures)
    ]
    counted = Counter(drawn)
    assert {text: counted[text] / 3000 for text in texts[0]} == pytest.approx(dict.fromkeys(texts[0], 1 / 3), abs=0.03)
    assert captioner.caption(pictures[7:9]) == captioner.caption(pictures)[7:9]


def test_paths_below_a_folder_name_pictures_and_file_names_where_they_are_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "pictures", ["cat/a.png", "cat/b.png", "dog/a.png", "dog/c.jpg", "dog/c.png"])
    table = tmp_path / "captions.tsv"
    table.write_text(lines({"cat/a": "1", "b.PNG": "b", "./dog/a.png": "3", "dog/c.jpg": "4", "bird/a.png": "no"}))
    found = recaptioned(tmp_path, published())
    assert found == {"cat/a.png": None, "cat/b.png": "b", "dog/a.png": None, "dog/c.jpg": None, "dog/c.png": None}
    table.write_text(lines({"cat/a": "one", "b.PNG": "two", "./dog/a.png": "three", "dog/c.jpg": "four"}))
    assert run_stage("recaption", ROW) == 0
    assert captions(tmp_path) == {
        "cat/a.png": "one",
        "cat/b.png": "two",
        "dog/a.png": "three",
        "dog/c.jpg": "four",
        "dog/c.png": None,
    }
    for name, may_mean in (("a.png", "'cat/a.png', 'dog/a.png'"), ("dog/c", "'dog/c.jpg', 'dog/c.png'")):
        table.write_text(lines({name: "which?"}))
        said = refused(capfd)
        assert f"captions.tsv, lines to 1: the name '{name}' may mean 2 pictures ({may_mean}); write" in said


def test_derived_pictures_have_no_published_captions(project: Path) -> None:
    raw = parameters(published())
    raw["augment"]["rows"] = {
        "crop": {"kind": "crop", "images": "download/pictures", "side_px": 8} | {"min_scale": 0.5, "max_scale": 1.0}
    }
    raw["recaption"]["rows"] = {ROW: {"images": "augment/crop", "captioner": "others"}}
    write_parameters(project / "params.yaml", raw)
    with pytest.raises(Refusal) as caught:
        plan_of(project)
    said = str(caught.value)
    assert f"recaption.rows.{ROW}.captioner = 'others': augment/crop has pictures that are made here" in said
    assert "take a captioner that looks (kind local), or name download/pictures" in said


PLACE = {"repository": "maker/captions", "commit": "0" * 40, "files": "*", "path": None}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"path": None}, "path = None: name a path here, or a repository of the Hub; one of the two"),
        ({"repository": "maker/captions"}, "path = 'captions.tsv': name a path here, or a repository"),
        ({"commit": "0" * 40}, "commit = '0000000000000000000000000000000000000000': goes with a repository"),
        ({**PLACE, "commit": None}, "commit = None: a repository needs commit"),
        ({**PLACE, "files": None}, "files = None: a repository needs files"),
        ({**PLACE, "commit": "unpinned"}, "commit = 'unpinned': no commit of maker/captions is written yet"),
        ({"columns": {"picture": 1, "caption": 1}}, "columns.caption = 1: is the column of the pictures' names too"),
        ({"columns": {"picture": "name", "caption": 2}}, "columns.picture = 'name': name both columns, or number both"),
        ({"columns": {"picture": 2, "caption": 1}}, "columns.picture = 2: form lines is a name, a tab and a caption"),
        ({"form": "jsonl"}, "columns.picture = 1: columns of jsonl have names: write the name"),
        ({"min_matched_fraction": 1.5}, "min_matched_fraction = 1.5: must be a number >= 0 and <= 1"),
        ({"form": "xml"}, "form = 'xml': must be parquet | jsonl | csv | tsv | lines"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(project: Path, values: dict[str, Any], said: str) -> None:
    captioner = {key: value for key, value in published(**values).items() if value is not None}
    write_parameters(project / "params.yaml", parameters(captioner))
    with pytest.raises(Refusal) as caught:
        plan_of(project)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there_is_named_before_any_work(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_parameters(project / "params.yaml", parameters(published(path="data/nowhere.tsv")))
    assert run_stage("recaption", ROW) == 1
    said = capfd.readouterr().err.strip().splitlines()
    assert said == [
        "params.yaml: recaption.captioners.others.path = 'data/nowhere.tsv': nothing is there; put the captions there "
        "or correct the path"
    ]


def test_a_killed_index_leaves_nothing_that_counts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.captioners import published_index

    (project / "captions.tsv").write_text(lines(CAPTIONS))
    start(project, published())

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(published_index, "_write", killed)
        assert run_stage("recaption", ROW, part=INDEX) == 130
    assert not plan_of(project).is_made(UnitId("recaption", ROW, INDEX))
    assert run_stage("recaption", ROW) == 0
    assert captions(project) == CAPTIONS


def test_shards_read_the_index_and_not_the_table(project: Path) -> None:
    (project / "captions.tsv").write_text(lines(CAPTIONS))
    start(project, published())
    assert run_stage("recaption", ROW, part=INDEX) == 0
    (project / "captions.tsv").rename(project / "away.tsv")
    for part in ("0", "1", MANIFEST):  # as jobs do that started when it was there
        assert run_stage("recaption", ROW, part=part) == 0
    assert captions(project) == CAPTIONS


def test_the_table_itself_may_not_lie_among_results(project: Path) -> None:
    write_parameters(project / "params.yaml", parameters(published(path="data/small/captions.tsv")))
    with pytest.raises(
        Refusal, match=r"recaption\.captioners\.others\.path = 'data/small/captions\.tsv': results of run"
    ):
        plan_of(project)


def test_manifest_parameters_hold_no_place(project: Path) -> None:
    (project / "captions.tsv").write_text(lines(CAPTIONS))
    recaptioned(project, published(licence="CC BY 4.0"))
    manifest = json.loads((project / f"data/small/recaption/{ROW}/manifest.json").read_text())
    assert manifest["parameters"]["captioner"] == {"kind": "published", "written_by": "a model"}
    assert manifest["published"]["table"] == {
        "written_by": "a model",
        "licence": "CC BY 4.0",
        "repository": None,
        "commit": None,
        "form": "lines",
        "num_files": 1,
        "first_file": "captions.tsv",
    }


def test_a_preview_of_what_is_there_already_is_refused(project: Path) -> None:
    (project / "captions.tsv").write_text(lines(CAPTIONS))
    start(project, published())
    ended = sandbox.stage(project, "recaption", "--row", ROW, "--preview", "2")
    assert ended.returncode == 1
    assert ended.stderr.strip() == (
        f"recaption/{ROW}: its captioner writes nothing whose time could be told; make the row, and look at the page"
    )


def test_clean_up_calls_an_index_of_captions_what_it_is(project: Path) -> None:
    (project / "captions.tsv").write_text(lines(CAPTIONS))
    recaptioned(project, published())
    raw = parameters(published())
    raw["recaption"]["rows"] = {}
    write_parameters(project / "params.yaml", raw)
    wants = gc.wants_of([Path("params.yaml")], project)
    found = Counter(item.kind for item in surplus_of(project / "data/store", wants.results, wants.works))
    assert found == {
        Kind("recaption, index", ""): 1,
        Kind("recaption, shard", ""): 2,
        Kind("recaption, manifest", ""): 1,
    }
