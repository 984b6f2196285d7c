"""What a training set takes on disk, beside the same rows as the paper's public code keeps them.

``python -m perf.storage FOLDER``: latents of 256 px (4 x 32 x 32, mean and std) and text of T5-XL's width, made up, of
captions of 60, 100 and 150 tokens in the mean. Ours are the folders that the stages show, with all that lies in them:
shards with their footers, the empty caption, manifests, rejects, the index of rows. The public code's are three .npy
files a row, float32: mean, std, and text padded to 256 tokens. Every file is written and counted, not computed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from perf import stage_process, toy_kinds
from perf.toy_kinds import TEXT_DIM, Long
from pipeline.data.randomness import generator
from pipeline.data.schema import LATENTS, TEXT, Column
from pipeline.data.shards import Shard
from pipeline.encoders.base import TextEmbedding
from pipeline.errors import Refusal, Reject, exit_status
from pipeline.params import kinds
from pipeline.params.encoders import TextEncoderParams
from pipeline.params.load import read_yaml
from pipeline.params.schema import Execution
from pipeline.runner.command import main as run_stage

MEANS = (60, 100, 150)
PUBLIC_TOKENS = 256
DTYPES = {"float16": 16, "float8": 8, "int8": 8}
GOALS = {(100, 16): 1 / 4, (100, 8): 1 / 8}
SPREAD = 9  # of the gamma distribution of lengths: a third of the mean is its standard deviation
PUBLIC = "public form"


class SpreadParams(TextEncoderParams, tag="perf_spread", frozen=True, kw_only=True):
    """A text encoder that computes nothing, for captions of many lengths."""

    mean_num_tokens: int


class Spread(Long):
    """Embeddings of a length that is drawn for each text."""

    def __init__(self, mean: float) -> None:
        self._mean = mean
        self._pool = generator("perf", "storage").standard_normal((PUBLIC_TOKENS, TEXT_DIM), np.float32)

    @classmethod
    def open(cls, params: SpreadParams, execution: Execution) -> Spread:  # type: ignore[override]
        """Nothing is loaded."""
        return cls(params.mean_num_tokens)

    def encode(self, texts: Sequence[str]) -> list[TextEmbedding | Reject]:
        """Parts of one pool of numbers."""
        return [TextEmbedding(self._pool[: self._num_tokens(text)], False) for text in texts]

    def _num_tokens(self, text: str) -> int:
        drawn = generator("perf", "length", text).gamma(SPREAD, self._mean / SPREAD)
        return int(np.clip(np.rint(drawn), 1, PUBLIC_TOKENS))


@dataclass(frozen=True)
class Taken:
    """Files of some folders: how many, their bytes, and the bytes of the disk's blocks that hold them."""

    num_files: int
    num_bytes: int
    num_block_bytes: int

    @classmethod
    def of(cls, *folders: Path) -> Taken:
        """What lies below some folders."""
        facts = [path.stat() for folder in folders for path in folder.rglob("*") if path.is_file()]
        if not facts:
            raise Refusal(f"{', '.join(map(str, folders))}: no file is there to be counted")
        return cls(len(facts), sum(fact.st_size for fact in facts), 512 * sum(fact.st_blocks for fact in facts))

    def line(self, name: str, num_rows: int, beside: Taken) -> str:
        """For people."""
        return (
            f"{name}: {self.num_bytes / num_rows / 1e3:.1f} kB a row, {self.num_bytes / beside.num_bytes:.4f} of the "
            f"{PUBLIC} (1/{beside.num_bytes / self.num_bytes:.2f}); blocks on this disk "
            f"{self.num_block_bytes / beside.num_block_bytes:.4f}; {self.num_files} files"
        )


def text_row(mean: int, dtype: str) -> str:
    """The name of a row of encode_text."""
    return f"tokens-{mean}-{dtype}"


def make_ours(folder: Path, num_rows: int) -> Path:
    """Write the sets by the stages themselves; returns the folder in which the run shows them."""
    stage_process.write_project(folder, (num_rows,))
    os.chdir(folder)
    params: dict[str, Any] = read_yaml(folder / "params.yaml")
    own = stage_process.name("recaption", num_rows)
    text = params["encode_text"]
    text["encoders"] |= {
        f"of-{mean}": {
            **{"kind": "perf_spread", "model": "model", "mean_num_tokens": mean},
            "max_text_tokens": PUBLIC_TOKENS,
        }
        for mean in MEANS
    }
    text["rows"] = {
        text_row(mean, dtype): {"captions": f"recaption/{own}", "encoder": f"of-{mean}", "dtype": dtype}
        for mean in MEANS
        for dtype in DTYPES
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    rows = {"download": [own], "recaption": [own], "encode_images": [own], "encode_text": list(text["rows"])}
    with toy_kinds.added(), kinds.TEXT_ENCODERS.added(SpreadParams, f"{__name__}:Spread"):  # type: ignore[attr-defined]
        for stage, names in rows.items():
            make = importlib.import_module(f"stages.{stage}").make
            for name in names:
                if run_stage(stage, make, ["--row", name]) != 0:
                    raise Refusal(f"{stage}/{name} was not made; its words are above")
    return folder / "data" / str(params["run"])


def write_public(shown: Path, own: str, mean: int, target: Path) -> int:
    """Write the rows of our float16 sets as the public code keeps them; returns the number of tokens."""
    target.mkdir()
    latents = Shard(shown / "encode_images" / own / "00000.parquet", LATENTS)
    texts = Shard(shown / "encode_text" / text_row(mean, "float16") / "00000.parquet", TEXT)
    lengths = texts.read([Column.NUM_TEXT_TOKENS]).column(0).to_pylist()
    for row, num_tokens in enumerate(lengths):
        values = [latents.payload(row, column) for column in (Column.MEAN, Column.STD)]
        text = texts.payload(row, Column.EMBEDDING)
        if text is None or None in values:
            raise Refusal(f"{texts.path}: row {row} has no text or no latents")
        for name, value in zip(("mean", "std"), values, strict=True):
            np.save(target / f"{row:08d}_{name}.npy", np.frombuffer(value or b"", "<f2").astype(np.float32))
        padded = np.zeros((PUBLIC_TOKENS, TEXT_DIM), np.float32)
        padded[:num_tokens] = np.frombuffer(text, "<f2").reshape(num_tokens, TEXT_DIM)
        np.save(target / f"{row:08d}_text.npy", padded)
    return sum(lengths)


def report(folder: Path, num_rows: int) -> None:
    """Print a line for each mean length and dtype."""
    folder = folder.resolve()
    folder.mkdir(parents=True)
    shown = make_ours(folder / "ours", num_rows)
    own = stage_process.name("encode_images", num_rows)
    for mean in MEANS:
        target = folder / f"public-{mean}"
        num_tokens = write_public(shown, own, mean, target)
        public = Taken.of(target)
        shutil.rmtree(target)
        print(f"{num_rows} rows, {num_tokens / num_rows:.1f} tokens in the mean")
        print("  " + public.line(PUBLIC, num_rows, public))
        for dtype, bits in DTYPES.items():
            ours = Taken.of(shown / "encode_images" / own, shown / "encode_text" / text_row(mean, dtype))
            goal = GOALS.get((mean, bits))
            met = "met" if goal is not None and ours.num_bytes <= goal * public.num_bytes else "missed"
            said = "" if goal is None else f"; goal {goal:g}: {met}"
            print("  " + ours.line(f"latents float16, text {dtype}", num_rows, public) + said)


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.storage", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="is made; ours are kept in it")
    parser.add_argument("--rows", type=int, default=512, help="of each set (512: 2.5 GB at once)")
    asked = parser.parse_args(arguments)
    return exit_status(lambda: report(asked.folder, asked.rows))


if __name__ == "__main__":
    sys.exit(main())
