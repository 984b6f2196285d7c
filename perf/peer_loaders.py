"""Loaders of other libraries over the rows of ``made_rows``, in an environment of their own.

This project is not at hand there: ``perf.servers`` starts this file with the interpreter of that environment.

``python peer_loaders.py write KIND FOLDER`` turns ``rows.bin`` into the library's own files; ``... serve KIND FOLDER
WORKERS`` answers each line that it reads: ``check`` with sums of all that an epoch gives, ``epoch`` with the seconds
that one took. Each library is set up as its documentation says is fastest: raw values without compression, samples
shuffled (shards and a buffer of 1,000 samples; ``py1e``), batches made inside the workers, which stay alive.
"""

from __future__ import annotations

import json
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

BATCH_SIZE = 64
NUM_TARS = 16
SHUFFLE_BUFFER = 1_000  # samples, as webdataset's own examples have it
Batch = dict[str, torch.Tensor]


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The float16 arrays of a row, in the order of ``rows.bin``."""
    return {name: tuple(shape) for name, shape in json.loads((folder / "shapes.json").read_text()).items()}


def row_dtype(folder: Path) -> np.dtype[np.void]:
    """Of a row of ``rows.bin``."""
    return np.dtype([(name, "<f2", shape) for name, shape in shapes(folder).items()])


def num_rows(folder: Path) -> int:
    """Rows of ``rows.bin``."""
    return (folder / "rows.bin").stat().st_size // row_dtype(folder).itemsize


def rows(folder: Path) -> Iterable[dict[str, np.ndarray]]:
    """The rows of ``rows.bin``."""
    dtype = row_dtype(folder)
    for row in np.memmap(folder / "rows.bin", dtype, "r"):
        yield {name: np.array(row[name]) for name in dtype.names or ()}


class Collate:
    """Makes a batch of read rows, as a training wants it: latents drawn from mean and std, noise, and the text.

    The text goes through torch's own collation, which writes it into shared memory at once when a worker runs it.
    """

    def __init__(self, *, with_noise: bool) -> None:
        self._with_noise = with_noise

    def __call__(self, read: list[dict[str, np.ndarray]]) -> Batch:
        """The batch of some rows."""
        names = ("mean", "std", "text")
        mean, std, text = (default_collate([torch.from_numpy(row[name]) for row in read]) for name in names)
        latents, noise = mean.float(), torch.zeros(mean.shape)
        if self._with_noise:
            latents += torch.randn(mean.shape) * std.float()
            noise = torch.randn(mean.shape)
        return {"latents": latents, "noise": noise, "text": text}


class Decode:
    """Raw bytes of a tar's members as arrays."""

    def __init__(self, folder: Path) -> None:
        self._shapes = shapes(folder)

    def __call__(self, sample: dict[str, bytes]) -> dict[str, np.ndarray]:
        """The arrays of a row; nothing is copied."""
        return {
            name: np.frombuffer(sample[f"{name}.bin"], np.float16).reshape(shape)
            for name, shape in self._shapes.items()
        }


def write_webdataset(folder: Path) -> None:
    """Tar files of raw members."""
    import webdataset  # type: ignore[import-not-found]

    out = folder / "webdataset"
    out.mkdir()
    per_tar = -(-num_rows(folder) // NUM_TARS)
    with ExitStack() as stack:
        for number, row in enumerate(rows(folder)):
            if number % per_tar == 0:
                stack.close()
                path = out / f"{number // per_tar:05d}.tar"
                writer = stack.enter_context(webdataset.TarWriter(str(path), encoder=False))
            members = {f"{name}.bin": value.tobytes() for name, value in row.items()}
            writer.write({"__key__": f"{number:08d}", **members})


def webdataset_loader(folder: Path, num_workers: int, collate: Collate) -> Iterable[Batch]:
    """Tars in random order, a buffer of samples shuffled, batches made inside the workers."""
    import webdataset

    tars = sorted(str(path) for path in (folder / "webdataset").glob("*.tar"))
    data = (
        webdataset.WebDataset(tars, shardshuffle=len(tars), seed=0)
        .shuffle(SHUFFLE_BUFFER)
        .map(Decode(folder))
        .batched(BATCH_SIZE, collation_fn=collate)
    )
    loader: Iterable[Batch] = webdataset.WebLoader(
        data, batch_size=None, num_workers=num_workers, persistent_workers=num_workers > 0
    )
    return loader


def _streaming() -> Any:
    """The package mosaicml-streaming, whose pictures' half wants torchvision for a base class that is not used here."""
    import transformers.utils.import_utils  # type: ignore[import-not-found]  # noqa: F401, before the stand-in

    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
        sys.modules.setdefault(name, types.ModuleType(name))
    vars(sys.modules["torchvision.datasets"]).setdefault("VisionDataset", object)
    vars(sys.modules["torchvision.transforms.functional"]).setdefault("to_tensor", None)
    import streaming  # type: ignore[import-not-found]

    return streaming


def write_mds(folder: Path) -> None:
    """MDS shards with arrays of fixed shape and dtype, of the library's own size."""
    columns = {name: f"ndarray:float16:{','.join(map(str, shape))}" for name, shape in shapes(folder).items()}
    with _streaming().MDSWriter(out=str(folder / "mds"), columns=columns) as writer:
        for row in rows(folder):
            writer.write(row)


def mds_loader(folder: Path, num_workers: int, collate: Collate) -> Iterable[Batch]:
    """The library's data set in torch's loader."""
    data = _streaming().StreamingDataset(local=str(folder / "mds"), shuffle=True, batch_size=BATCH_SIZE)
    loader: Iterable[Batch] = torch.utils.data.DataLoader(
        data, BATCH_SIZE, num_workers=num_workers, collate_fn=collate, persistent_workers=num_workers > 0
    )
    return loader


PEERS: dict[str, tuple[Callable[[Path], None], Callable[[Path, int, Collate], Iterable[Batch]]]] = {
    "webdataset": (write_webdataset, webdataset_loader),
    "mds": (write_mds, mds_loader),
}


def bits(values: np.ndarray) -> int:
    """The sum of float16 values' bits: the same in any order."""
    return int(np.ascontiguousarray(values).view(np.uint16).sum(dtype=np.int64))


def sums(batches: Iterable[Batch]) -> dict[str, float]:
    """What an epoch holds: rows, bits of all texts and means, and the mean square of the latents."""
    found = {"num_rows": 0, "text": 0, "latents": 0, "squares": 0.0}
    for batch in batches:
        found["num_rows"] += len(batch["text"])
        found["text"] += bits(batch["text"].numpy())
        found["latents"] += bits(batch["latents"].numpy().astype(np.float16))
        found["squares"] += float(batch["latents"].double().square().sum())
    return found


def timed(loader: Iterable[Batch]) -> dict[str, float]:
    """Seconds and rows of an epoch."""
    start = time.perf_counter()
    total = sum(len(batch["text"]) for batch in loader)
    return {"seconds": time.perf_counter() - start, "num_rows": total}


def serve(kind: str, folder: Path, num_workers: int) -> None:
    """Answer lines until the input ends."""
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # read bytes are copied at once
    torch.set_num_threads(1)
    make = PEERS[kind][1]
    loader = make(folder, num_workers, Collate(with_noise=True))
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "epoch":
            answer = timed(loader)
        else:
            plain = sums(make(folder, 0, Collate(with_noise=False)))
            answer = {**plain, "squares": sums(loader)["squares"]}
        print(json.dumps(answer), flush=True)


def main(arguments: list[str]) -> None:
    """Write or serve."""
    what, kind, folder = arguments[0], arguments[1], Path(arguments[2])
    if what == "write":
        PEERS[kind][0](folder)
    else:
        serve(kind, folder, int(arguments[3]))


if __name__ == "__main__":
    main(sys.argv[1:])
