"""Files are written by the stages, and counted as they lie there."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from perf import storage
from perf.storage import PUBLIC_TOKENS, Taken, main
from perf.toy_kinds import TEXT_DIM
from pipeline.encoders.stored_text import worst_error
from pipeline.errors import Refusal
from pipeline.training.rows import TextRows


def test_all_files_of_both_forms_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "MEANS", (100,))
    assert main(["work", "--rows", "6"]) == 0
    shown = tmp_path / "work" / "ours" / "data" / "perf"
    folders = [shown / "encode_images" / "of-6", shown / "encode_text" / "tokens-100-int8"]
    names = [sorted(os.listdir(folder)) for folder in folders]
    both = ["00000.parquet", "manifest.json", "rejects.parquet", "rows.arrow"]
    assert names == [both, [*both, "unconditional.parquet"]]
    coded, exact = (
        TextRows((folder / "00000.parquet",), folder / "rows.arrow")
        for folder in (folders[1], folders[1].with_name("tokens-100-float16"))
    )
    for row in range(6):  # what the stage stored is what the loader reads
        read, wanted = coded.read(row), exact.read(row)
        assert (np.abs(read - wanted.astype(float)) <= worst_error(read, "int8") * 1.01 + 2e-3).all()
        assert not np.array_equal(read, wanted)
    num_bytes = sum(
        os.path.getsize(f"{folder}/{name}") for folder, of in zip(folders, names, strict=True) for name in of
    )
    public_bytes = 6 * (2 * 4 * 4 * 32 * 32 + 4 * PUBLIC_TOKENS * TEXT_DIM + 3 * 128)  # a header of .npy has 128 bytes
    said = capsys.readouterr().out.splitlines()
    (line,) = [line for line in said if "text int8" in line]
    assert f"{num_bytes / public_bytes:.4f} of the public form" in line
    assert line.endswith("; 9 files; goal 0.125: met")
    (line,) = [line for line in said if line.startswith("  public form")]
    assert f"{public_bytes / 6 / 1e3:.1f} kB a row" in line
    assert "18 files" in line


def test_lengths_are_spread_about_their_mean_and_the_same_each_time() -> None:
    encoder = storage.Spread(100)
    texts = [f"caption {number}" for number in range(2000)]
    lengths = np.array([encoder._num_tokens(text) for text in texts])
    assert abs(lengths.mean() - 100) < 3
    assert abs(lengths.std() - 100 / 3) < 3
    assert [len(text.embedding) for text in encoder.encode(texts[:9])] == lengths[:9].tolist()  # type: ignore[union-attr]


def test_an_empty_folder_is_not_counted_as_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no file is there"):
        Taken.of(tmp_path)
