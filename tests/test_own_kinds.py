"""Kinds from outside the package: each is a class, a type of parameters and one line, and runs through its stage."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from small_project import plan_of, run_stage, small_parameters, write_parameters

from pipeline.augment.base import Derived
from pipeline.augment.base import Setting as AugmentationSetting
from pipeline.captioners.base import Caption, Picture, Provenance, Setting
from pipeline.dag.units import MANIFEST, UnitId
from pipeline.data.files import MANIFEST_JSON
from pipeline.data.image_rows import ImageRow
from pipeline.data.manifest import read_manifest
from pipeline.data.schema import CAPTIONS, IMAGES, LATENTS, TEXT, Column, FinishReason, Table
from pipeline.data.shards import Shard
from pipeline.encoders.base import Latent, TextEmbedding
from pipeline.errors import Refusal, Reject, Transient
from pipeline.params import kinds
from pipeline.params.captioners import CaptionerParams
from pipeline.params.datasets import AugmentRow, DownloadRow
from pipeline.params.encoders import AutoencoderParams, TextEncoderParams
from pipeline.params.load import convert
from pipeline.params.schema import Execution
from pipeline.sources.base import Entry

NUM_PICTURES = 6
BROKEN = 3
OUTAGES = {"source": 0, "captioner": 0}  # how often the one does not answer
ASKED: list[list[str]] = []  # keys of the pictures that the captioner was given, call by call


class GreysRow(DownloadRow, tag="greys", kw_only=True, frozen=True):
    """Grey pictures, one of them cut short."""

    same_as_heldout: ClassVar[tuple[str, ...]] = ("side_px",)

    side_px: int


class Greys:
    """Picture i is of the grey 40 i; they are asked for together."""

    random_access = False

    def __init__(self, side_px: int) -> None:
        self.side_px = side_px

    @classmethod
    def open(cls, params: GreysRow, seed: int) -> Greys:
        return cls(params.side_px)

    def entries(self) -> Iterator[Entry]:
        for number in range(NUM_PICTURES):
            yield Entry(f"grey-{number}", str(number), number % 2, f"class {number % 2}", (f"a grey of {40 * number}",))

    def read_many(self, locations: Sequence[str]) -> Iterator[bytes | Reject]:
        if OUTAGES["source"]:
            OUTAGES["source"] -= 1
            raise Transient("greys.example does not answer; run again")
        for location in locations:
            buffer = io.BytesIO()
            Image.new("RGB", (self.side_px, self.side_px), (40 * int(location),) * 3).save(buffer, "PNG")
            yield Reject("toy", "cut short") if int(location) == BROKEN else buffer.getvalue()


class InvertRow(AugmentRow, tag="invert", frozen=True, kw_only=True):
    """Negatives."""


class Invert:
    """The negative of each picture."""

    @classmethod
    def open(cls, params: InvertRow, setting: AugmentationSetting) -> Invert:
        assert setting.partners is None
        return cls()

    def make(self, row: ImageRow) -> Derived:
        assert row.view is not None
        return Derived(row.view.point(lambda value: 255 - value), "invert", [row.key], (0, 0, *row.view.size))


class BrightnessCaptioner(CaptionerParams, tag="brightness", frozen=True, kw_only=True):
    """Captions of how bright a picture is."""

    num_at_once: int


class Brightness:
    """Says the value of a picture's first pixel."""

    def __init__(self, num_in_flight: int) -> None:
        self.num_in_flight = num_in_flight

    @classmethod
    def open(cls, params: BrightnessCaptioner, setting: Setting) -> Brightness:
        return cls(params.num_at_once)

    def caption(self, pictures: Sequence[Picture]) -> list[Caption | Reject]:
        if OUTAGES["captioner"] and ASKED:
            OUTAGES["captioner"] -= 1
            raise Transient("captions.example does not answer; run again")
        ASKED.append([picture.key for picture in pictures])
        values = [picture.view(8).getpixel((0, 0))[0] for picture in pictures]  # type: ignore[index]
        return [Caption(f"brightness {value}", "how bright?", FinishReason.STOP, 2) for value in values]

    def provenance(self) -> Provenance:
        return Provenance(captioner="brightness", engine="a ruler", engine_version="1")


class BlocksParams(AutoencoderParams, tag="blocks", frozen=True, kw_only=True):
    """Means of blocks of pixels."""


class Blocks:
    """Latents are means over 8 x 8 pixels; pictures are those means again."""

    num_channels, downsampling_factor = 3, 8

    @classmethod
    def open(cls, params: BlocksParams, execution: Execution, *, is_scale_known: bool = False) -> Blocks:
        return cls()

    def encode(self, images: Sequence[Image.Image]) -> list[Latent | Reject]:
        pixels = [np.asarray(image, dtype=np.float32) / 127.5 - 1 for image in images]
        blocks = [one.reshape(len(one) // 8, 8, len(one) // 8, 8, 3).mean(axis=(1, 3)) for one in pixels]
        return [Latent(np.ascontiguousarray(one.transpose(2, 0, 1)), None) for one in blocks]

    def decode(self, latents: Any) -> list[Image.Image | Reject]:
        raise AssertionError("nothing is decoded here")


class LettersParams(TextEncoderParams, tag="letters", frozen=True, kw_only=True):
    """One token per letter."""


class Letters:
    """Embeds a letter as (its number, its place); the empty text as one token of zeros."""

    dim = 2

    def __init__(self, max_text_tokens: int) -> None:
        self.max_text_tokens = max_text_tokens

    @classmethod
    def open(cls, params: LettersParams, execution: Execution) -> Letters:
        return cls(params.max_text_tokens)

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding | Reject]:
        limit = self.max_text_tokens
        values = [[(float(ord(letter)), float(i)) for i, letter in enumerate(text[:limit])] for text in texts]
        rows = [np.array(one, dtype=np.float32) for one in values]
        return [TextEmbedding(row, len(text) > limit) for row, text in zip(rows, texts, strict=True)]

    def unconditional(self) -> np.ndarray:
        return np.zeros((1, self.dim), dtype=np.float32)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of toy kinds alone, the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(OUTAGES, "source", 0)
    monkeypatch.setitem(OUTAGES, "captioner", 0)
    ASKED.clear()
    with ExitStack() as stack:
        stack.enter_context(kinds.SOURCES.added(GreysRow, f"{__name__}:Greys"))
        stack.enter_context(kinds.AUGMENTATIONS.added(InvertRow, f"{__name__}:Invert"))
        stack.enter_context(kinds.CAPTIONERS.added(BrightnessCaptioner, f"{__name__}:Brightness"))
        stack.enter_context(kinds.AUTOENCODERS.added(BlocksParams, f"{__name__}:Blocks"))
        stack.enter_context(kinds.TEXT_ENCODERS.added(LettersParams, f"{__name__}:Letters"))
        (tmp_path / "model").mkdir()
        (tmp_path / "model/config.json").write_text("{}")
        write_parameters(tmp_path / "params.yaml", parameters())
        yield tmp_path


def parameters() -> dict[str, Any]:
    raw = small_parameters()
    raw["download"] |= {
        "max_reject_fraction": 0.2,
        "rows": {"greys": {"source": "greys", "revision": 1, "num_rows": "all", "num_shards": 1, "side_px": 16}},
    }
    negatives = {"images": "download/greys", "kind": "invert", "side_px": 16}
    raw["augment"] = {
        "version": 1,
        "max_reject_fraction": 0.0,
        "row_group_rows": 4,
        "rows": {"negatives": negatives},
    }
    raw["recaption"]["captioners"] = {"brightness": {"kind": "brightness", "num_at_once": 2}}
    raw["recaption"]["rows"] = {"negatives": {"images": "augment/negatives", "captioner": "brightness"}}
    raw["encode_images"] |= {"side_px": 16, "dtype": "float32", "autoencoder": "blocks"}
    raw["encode_images"]["autoencoders"] = {"blocks": {"kind": "blocks", "model": "model", "scale": 1.0, "source": "-"}}
    raw["encode_images"]["rows"] = {"negatives": {"images": "augment/negatives"}}
    raw["encode_text"] |= {"dtype": "float32", "encoder": "letters"}
    raw["encode_text"]["encoders"] = {"letters": {"kind": "letters", "model": "model", "max_text_tokens": 12}}
    raw["encode_text"]["rows"] = {"negatives": {"captions": "recaption/negatives"}}
    return raw


def rows(project: Path, stage: str, row: str, table: Table, columns: list[Column]) -> list[dict[str, Any]]:
    plan = plan_of(project)
    unit_id = UnitId(stage, row, "0")
    return Shard(plan.made_folder(unit_id) / plan.unit(unit_id).files[0], table).rows(columns)


def test_a_source_an_augmentation_and_a_captioner_of_ones_own_run_through_their_stages(project: Path) -> None:
    for stage, row in (("download", "greys"), ("augment", "negatives"), ("recaption", "negatives")):
        assert run_stage(stage, row) == 0
    pictures = rows(project, "download", "greys", IMAGES, [Column.KEY, Column.CLASS_NAME, Column.TEXT, Column.SHA256])
    assert [row["key"] for row in pictures] == [f"greys/grey-{number}" for number in range(NUM_PICTURES)]
    assert [row["text"] for row in pictures] == [[f"a grey of {40 * number}"] for number in range(NUM_PICTURES)]
    assert [row["sha256"] is None for row in pictures] == [number == BROKEN for number in range(NUM_PICTURES)]
    captions = rows(project, "recaption", "negatives", CAPTIONS, [Column.KEY, Column.CAPTION, Column.CAPTIONER])
    assert [row["key"] for row in captions] == [f"greys/grey-{number}#negatives" for number in range(NUM_PICTURES)]
    right = [None if number == BROKEN else f"brightness {255 - 40 * number}" for number in range(NUM_PICTURES)]
    assert [row["caption"] for row in captions] == right
    assert {row["captioner"] for row in captions} == {"brightness"}
    assert [len(keys) for keys in ASKED] == [2, 2, 1]
    plan = plan_of(project)
    manifest = read_manifest(plan.made_folder(UnitId("recaption", "negatives", MANIFEST)) / MANIFEST_JSON)
    assert manifest["provenance"] == [{"captioner": "brightness", "engine": "a ruler", "engine_version": "1"}]


def test_an_autoencoder_and_a_text_encoder_of_ones_own_run_through_their_stages(project: Path) -> None:
    for stage, row in (("download", "greys"), ("augment", "negatives"), ("recaption", "negatives")):
        assert run_stage(stage, row) == 0
    assert run_stage("encode_images", "negatives") == 0
    assert run_stage("encode_text", "negatives") == 0
    latents = rows(project, "encode_images", "negatives", LATENTS, [Column.MEAN, Column.STD, Column.HEIGHT])
    texts = rows(project, "encode_text", "negatives", TEXT, [Column.EMBEDDING, Column.NUM_TEXT_TOKENS])
    for number, (latent, text) in enumerate(zip(latents, texts, strict=True)):
        if number == BROKEN:
            assert latent["mean"] is None
            assert text["embedding"] is None
            continue
        mean = np.frombuffer(latent["mean"], np.float32)
        assert (latent["std"], latent["height"], mean.shape) == (None, 2, (3 * 2 * 2,))
        assert mean == pytest.approx((255 - 40 * number) / 127.5 - 1, abs=1e-6)
        embedding = np.frombuffer(text["embedding"], np.float32).reshape(-1, 2)
        caption = f"brightness {255 - 40 * number}"[:12]
        assert "".join(chr(int(value)) for value in embedding[:, 0]) == caption
        assert text["num_text_tokens"] == len(caption)


def test_a_source_that_does_not_answer_rejects_no_picture(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OUTAGES, "source", 1)
    assert run_stage("download", "greys") == 1
    assert "greys.example does not answer; run again" in capsys.readouterr().err
    with pytest.raises(Refusal, match="is not made"):
        plan_of(project).made_folder(UnitId("download", "greys", "0"))
    assert run_stage("download", "greys") == 0
    digests = rows(project, "download", "greys", IMAGES, [Column.SHA256])
    assert sum(row["sha256"] is None for row in digests) == 1


def test_a_captioner_that_does_not_answer_loses_no_finished_batch(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_stage("download", "greys") == 0
    assert run_stage("augment", "negatives") == 0
    monkeypatch.setitem(OUTAGES, "captioner", 1)
    assert run_stage("recaption", "negatives") == 1
    assert len(ASKED) == 1
    assert run_stage("recaption", "negatives") == 0
    keys = [key for batch in ASKED for key in batch]
    assert len(keys) == len(set(keys)) == NUM_PICTURES - 1
    captions = rows(project, "recaption", "negatives", CAPTIONS, [Column.CAPTION])
    assert sum(row["caption"] is None for row in captions) == 1


def test_kinds_are_known_by_their_names_alone_while_they_are_in_the_table(project: Path) -> None:
    raw = parameters()
    convert(raw, "params.yaml")
    raw["download"]["rows"]["greys"]["source"] = "grays"
    with pytest.raises(Refusal, match=r"download\.rows\.greys\.source = 'grays': must be folder \| greys \|"):
        convert(raw, "params.yaml")
    raw = parameters()
    raw["download"]["rows"]["greys"]["side"] = 4
    with pytest.raises(Refusal, match=r"download\.rows\.greys\.side is not a parameter"):
        convert(raw, "params.yaml")


def test_a_kind_that_was_removed_is_none() -> None:
    with kinds.SOURCES.added(GreysRow, f"{__name__}:Greys"):
        pass
    with pytest.raises(Refusal, match=r"source = 'greys': must be folder \| (?!greys)"):
        convert(parameters(), "params.yaml")
