"""The preset for a folder of real pictures, with hostile files among them, through to the page."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import PROJECT, Checkout
from PIL import Image

pytestmark = pytest.mark.slow
NUM_PICTURES_PER_CLASS = 10


def sorted_into_classes(flat: Path, folder: Path) -> int:
    """Ten pictures a class folder, so that held-out rows and training rows share classes."""
    pictures = sorted(flat.glob("*.JPEG"))
    for number, path in enumerate(pictures):
        target = folder / f"group_{number // NUM_PICTURES_PER_CLASS}" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return len(pictures)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width_px: int, height_px: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def hostile_files(real: bytes) -> dict[str, tuple[bytes, str]]:
    """Ten files with a picture's name, and the reason with which each must be rejected."""
    plain = Image.new("RGB", (40, 40), (200, 30, 30))
    whole = encoded(plain, "PNG")
    return {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"this is no picture\n" * 40, "not_an_image"),
        "page.png": (b"<html><script>alert(1)</script></html>", "not_an_image"),
        "drawing.jpeg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not_an_image"),
        "half.jpg": (real[: len(real) // 2], "truncated"),
        "bomb.png": (png(60000, 60000, zlib.compress(b"\0" * 1000)), "too_many_pixels"),
        "broken.png": (whole[:60] + bytes([whole[60] ^ 255]) + whole[61:], "corrupt"),
        "dot.png": (encoded(Image.new("RGB", (1, 1)), "PNG"), "too_small"),
        "moving.gif": (
            encoded(plain, "GIF", save_all=True, append_images=[Image.new("RGB", (40, 40), (0, 0, 255))]),
            "animated",
        ),
        "zeros.bmp": (b"BM" + b"\0" * 10, "not_an_image"),
    }


def test_real_pictures_and_hostile_files_end_in_a_page(shared: Path, tmp_path: Path) -> None:
    checkout = Checkout.new(tmp_path / "project")
    checkout.take_demo_models()
    preset = yaml.safe_load((PROJECT / "params/folder.yaml").read_text())
    folder = checkout.folder / preset["download"]["rows"]["pictures"]["path"]
    num_real = sorted_into_classes(shared / "data/imagenet-sample", folder)
    first = next(folder.rglob("*.JPEG")).read_bytes()
    hostile = hostile_files(first)
    for name, (data, _) in hostile.items():
        (folder / "group_0" / name).write_bytes(data)
    assert (num_real, len(hostile)) == (100, 10)

    ended = checkout.snakemake("--configfile", "params/folder.yaml")
    assert ended.status == 0, ended.text
    run = checkout.folder / "data" / preset["run"]
    manifests = [json.loads((run / "download" / row / "manifest.json").read_text()) for row in ("pictures", "heldout")]
    assert sum(manifest["num_rows"] for manifest in manifests) == 110
    counted: dict[str, int] = {}
    for manifest in manifests:
        for reason, number in manifest["rejected"].items():
            counted[reason] = counted.get(reason, 0) + number
    expected: dict[str, int] = {}
    for _, reason in hostile.values():
        expected[reason] = expected.get(reason, 0) + 1
    assert counted == expected

    page = (checkout.folder / "reports" / preset["run"] / "report.html").read_text()
    assert all(reason in page for reason in expected)
    assert "demo encoders" in page.lower()
    metrics = json.loads((checkout.folder / "reports" / preset["run"] / "metrics.json").read_text())
    (model,) = metrics["models"].values()
    assert model["arm"] == "aio"
    (benchmark,) = model["benchmarks"].values()
    assert "refused" in json.dumps(benchmark)  # too few pictures for a Frechet distance
    assert any("kid" in name and "value" in value for name, value in benchmark.items())
