"""Members of tars, and the samples that webdataset 1.0.2 makes of them.

The right sides were written by ``library_says``, run where that library is installed (``pip install webdataset``); a
test compares them again wherever it is.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

Samples = list[tuple[str, list[str]]]

# names of a tar's members -> keys with extensions; a text: what the library raises
CASES: list[tuple[list[str], Samples | str]] = [
    (["a.jpg", "a.txt", "b.jpg", "b.json"], [("a", ["jpg", "txt"]), ("b", ["jpg", "json"])]),
    (["A.JPG", "A.Txt", "a.jpg"], [("A", ["jpg", "txt"]), ("a", ["jpg"])]),
    (["x/a.jpg", "x/a.txt", "y/a.jpg"], [("x/a", ["jpg", "txt"]), ("y/a", ["jpg"])]),
    (["./a.jpg", "./a.txt"], [("./a", ["jpg", "txt"])]),
    (["/abs/a.jpg", "abs/a.jpg"], [("/abs/a", ["jpg"]), ("abs/a", ["jpg"])]),
    (["v1.0/a.jpg", "v1.0/a.cls"], [("v1.0/a", ["jpg", "cls"])]),
    (["a.seg.png", "a.jpg", "a.depth.PNG"], [("a", ["seg.png", "jpg", "depth.png"])]),
    (["shape.1.jpg", "shape.1.txt", "shape.2.jpg", "shape.2.txt"], [("shape", ["1.jpg", "1.txt", "2.jpg", "2.txt"])]),
    (["1706.03762.jpg", "1706.03763.jpg"], [("1706", ["03762.jpg", "03763.jpg"])]),
    (["a.jpg", "b.jpg", "a.txt", "b.txt"], [("a", ["jpg"]), ("b", ["jpg"]), ("a", ["txt"]), ("b", ["txt"])]),
    (["a.jpg", "a.JPG"], "a.JPG: duplicate file name in tar file jpg"),
    (["a.txt", "a.jpg", "a.txt"], "a.txt: duplicate file name in tar file txt"),
    (["README", "a.jpg", "LICENSE", "a.txt"], [("a", ["jpg", "txt"])]),
    ([".hidden.jpg", "a.jpg", ".DS_Store", "a.txt"], [("a", ["jpg", "txt"])]),
    (["._a.jpg", "a.jpg", "._a.txt", "a.txt"], [("a", ["jpg", "txt"])]),
    (["__index__", "__meta__/info.json", "a.jpg", "x/__y__.txt"], [("a", ["jpg"]), ("x/__y__", ["txt"])]),
    (["a b.jpg", "ünï.jpg", "ünï.txt", "#1.jpg"], [("a b", ["jpg"]), ("ünï", ["jpg", "txt"]), ("#1", ["jpg"])]),
    (["a.", "b..jpg", "c.jpg."], [("a", [""]), ("b", [".jpg"]), ("c", ["jpg."])]),
    (["a\nb.jpg", "c.jpg\n"], [("a\nb", ["jpg"]), ("c", ["jpg\n"])]),
    (["d" * 150 + "/" + "e" * 120 + ".jpg"], [("d" * 150 + "/" + "e" * 120, ["jpg"])]),
    (["x.y/README", "x.y/.hidden.jpg"], []),
    (["a.jpg", "a/b.jpg", "a.txt"], [("a", ["jpg"]), ("a/b", ["jpg"]), ("a", ["txt"])]),
]


def write_tar(path: Path, names: list[str]) -> Path:
    """A tar of files whose contents are their names."""
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            data = name.encode(errors="surrogateescape")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def library_says(path: Path) -> Samples | str:
    """What webdataset makes of a tar; raises ImportError where it is not installed."""
    from webdataset.tariterators import tarfile_samples

    try:
        found = list(tarfile_samples([{"url": str(path)}]))
    except ValueError as error:
        return str(error.args[0]).partition(" dict_keys")[0]
    return [(sample["__key__"], [name for name in sample if not name.startswith("__")]) for sample in found]
