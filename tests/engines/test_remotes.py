"""Results that travel through a remote of DVC, a folder's and an S3 server's: nothing is made twice, damage is seen."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.remote]

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
SHARD = "data/light/download/main/00000.parquet"
STARTED_SECONDS = 120.0


@dataclass
class Remote:
    """Where results are pushed to.

    Attributes:
        options: of ``dvc remote``, by name.
        damage: changes what is stored there of a file's content.
        remove: removes objects, each by the digest that DVC names it by.
    """

    url: str
    options: dict[str, str]
    damage: Callable[[bytes], None]
    remove: Callable[[list[str]], None]

    def join(self, checkout: Checkout) -> None:
        assert checkout.dvc("remote", "add", "-d", "far", self.url).status == 0
        for name, value in self.options.items():
            assert checkout.dvc("remote", "modify", "far", name, value).status == 0


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def object_of(md5: str) -> str:
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def folder_of_shard(checkout: Checkout) -> str:
    """What DVC calls the list of the folder that holds the shard."""
    stages = yaml.safe_load((checkout.folder / "dvc.lock").read_text())["stages"].values()
    (found,) = (out["md5"] for stage in stages for out in stage["outs"] if SHARD.startswith(f"{out['path']}/"))
    return str(found)


def flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(changed) // 3] ^= 1
    return bytes(changed)


def folder_remote(folder: Path) -> Iterator[Remote]:
    def damage(content: bytes) -> None:
        path = folder / "far" / object_of(md5_of(content))
        path.chmod(0o644)
        path.write_bytes(flipped(content))

    def remove(digests: list[str]) -> None:
        for md5 in digests:
            (folder / "far" / object_of(md5)).unlink()

    yield Remote(str(folder / "far"), {}, damage, remove)


def s3_remote(folder: Path) -> Iterator[Remote]:
    import boto3

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "server.txt").open("wb") as said:
        server = subprocess.Popen(command, stdout=said, stderr=said)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        wait_for(endpoint, server, folder / "server.txt")
        client: Any = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="results")

        def damage(content: bytes) -> None:
            key = f"t2i/{object_of(md5_of(content))}"
            assert client.get_object(Bucket="results", Key=key)["Body"].read() == content
            client.put_object(Bucket="results", Key=key, Body=flipped(content))

        def remove(digests: list[str]) -> None:
            for md5 in digests:
                client.delete_object(Bucket="results", Key=f"t2i/{object_of(md5)}")

        yield Remote("s3://results/t2i", {"endpointurl": endpoint}, damage, remove)
    finally:
        server.kill()
        server.wait()


def wait_for(endpoint: str, server: subprocess.Popen[bytes], said: Path) -> None:
    deadline = time.monotonic() + STARTED_SECONDS
    while True:
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
        except OSError:
            assert server.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
        else:
            return


KINDS = {"folder": folder_remote, "s3": s3_remote}


@pytest.fixture(params=KINDS)
def remote(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    yield from KINDS[request.param](tmp_path)


@pytest.fixture
def pushed(done: Checkout, remote: Remote) -> Checkout:
    """A finished checkout whose results are at the remote."""
    remote.join(done)
    for words in (("repro",), ("push",)):
        ended = done.dvc(*words)
        assert ended.status == 0, ended.text
    return done


@pytest.fixture
def second(pushed: Checkout, new: Callable[[], Checkout]) -> Checkout:
    """Another clone, with what git carries alone."""
    clone = new()
    for name in ("dvc.lock", ".dvc/config"):
        shutil.copyfile(pushed.folder / name, clone.folder / name)
    return clone


def pull(clone: Checkout) -> None:
    ended = clone.dvc("pull")
    assert ended.status == 0, ended.text


def own_files(folder: Path) -> bool:
    return not any(path.is_symlink() for path in folder.rglob("*"))


def test_what_was_pulled_is_not_made_again(second: Checkout, right_bytes: dict[str, str]) -> None:
    pull(second)
    ended = second.snakemake()
    assert ended.status == 0, ended.text
    assert re.search(r"0 to make, .* taken in, 0 removed from view", ended.text)
    assert second.dvc("repro").status == 0
    assert second.num_made == 0
    assert second.results() == right_bytes


def test_a_shard_damaged_at_the_remote_is_named_and_made_anew(
    pushed: Checkout, second: Checkout, remote: Remote, right_bytes: dict[str, str]
) -> None:
    content = (pushed.folder / SHARD).read_bytes()
    remote.damage(content)
    ended = second.dvc("pull")
    if ended.status != 0:  # a release of DVC that compares: then nothing of it arrives
        assert not (second.folder / SHARD).exists()
    ended = second.snakemake()
    assert ended.status == 0, ended.text
    assert ended.lines_with("damaged or not whole (its bytes are not those that its manifest tells of), moved aside")
    assert second.times_made() == {"download/main 00000": 1}
    assert second.results() == right_bytes
    again = second.snakemake()
    assert not again.lines_with("moved aside")
    remote.remove([md5_of(content), folder_of_shard(second)])  # as docs/use.md says
    assert pushed.dvc("push").status == 0
    shutil.rmtree(second.folder / ".dvc/cache")
    second.forget_results()
    pull(second)
    assert (second.folder / SHARD).read_bytes() == content


def test_a_cache_of_links_leaves_the_store_files_of_its_own(second: Checkout, right_bytes: dict[str, str]) -> None:
    assert second.dvc("config", "cache.type", "symlink").status == 0
    pull(second)
    assert (second.folder / SHARD).is_symlink()
    assert second.snakemake().status == 0
    assert own_files(second.folder / "data/store")
    shutil.rmtree(second.folder / ".dvc/cache")
    ended = second.snakemake()
    assert ended.status == 0, ended.text
    assert second.results() == right_bytes
    assert not ended.lines_with("moved aside")
    assert second.num_made == 0
