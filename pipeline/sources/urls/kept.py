"""What was fetched for an unfinished shard, and what is known of the addresses that gave nothing.

Beside the finished batches, since these go in order and pictures do not: those that were had wait for those that were
not. And they stay until the shard is whole: batches are dropped for too many rejects, or for new code, and nothing is
asked for again then. A folder of one file a picture, which ends with a checksum, so that one that a loss of power cut
short is not taken; and a journal of a line each for the rest, of which the last one of an address counts.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from xxhash import xxh3_128_digest

from pipeline.errors import Refusal, Reject, system_line
from pipeline.sources.urls.addresses import digest_of

JOURNAL = "journal.jsonl"
PICTURES = "pictures"
CHECKSUM_BYTES = 16


@dataclass(slots=True)
class Note:
    """What the journal says of one address: rejected with a reason, or silent in so many runs."""

    reject: tuple[str, str] | None = None
    num_silent_runs: int = 0


class Kept:
    """What is there from earlier runs, and what this one adds.

    Args:
        folder: where; made here if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pictures, self._journal = folder / PICTURES, folder / JOURNAL
        self._pictures.mkdir(parents=True, exist_ok=True)
        self._notes: dict[str, Note] = {}
        self._write = threading.Lock()
        self.hosts: list[str] = []
        self._read_journal()

    def picture(self, location: str) -> bytes | None:
        """The bytes of a picture that was fetched; None where it was not, or its file is damaged.

        Raises:
            Refusal: the disk does not give it.
        """
        path = self._path(location)
        try:
            stored = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refusal(system_line(error, path) or f"{path}: {error}") from error
        data, checksum = stored[:-CHECKSUM_BYTES], stored[-CHECKSUM_BYTES:]
        return data if xxh3_128_digest(data) == checksum else None

    def holds(self, location: str) -> bool:
        """Is there a whole picture of this address?"""
        return self.picture(location) is not None

    def reject(self, location: str) -> Reject | None:
        """Why an earlier run rejected this address; None where it did not."""
        note = self._notes.get(_name(location))
        return Reject(*note.reject) if note and note.reject else None

    def num_silent_runs(self, location: str) -> int:
        """In how many earlier runs this address gave no answer."""
        note = self._notes.get(_name(location))
        return note.num_silent_runs if note else 0

    def keep_picture(self, location: str, data: bytes) -> None:
        """Put down a picture, whole or not at all. Raises Refusal where the disk does not take it."""
        path = self._path(location)
        part = path.with_suffix(f".{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(exist_ok=True)
            with part.open("wb") as handle:
                handle.write(data)
                handle.write(xxh3_128_digest(data))
            os.replace(part, path)
        except OSError as error:
            raise Refusal(system_line(error, path) or f"{path}: {error}") from error

    def note_reject(self, location: str, reject: Reject) -> None:
        """Write down that an address was rejected: it is not asked for again."""
        said = [reject.reason, reject.detail]
        num_runs = self.num_silent_runs(location)
        self._add({"address": _name(location), "url": location, "reject": said, "silent_runs": num_runs})

    def note_silence(self, location: str, said: str) -> None:
        """Write down that an address gave no answer in one more run."""
        num_runs = self.num_silent_runs(location) + 1
        self._add({"address": _name(location), "url": location, "silent_runs": num_runs, "said": said})

    def note_hosts(self, hosts: list[str]) -> None:
        """Write down hosts that answered, by which a later run can tell that the network is there."""
        if hosts != self.hosts:
            self._add({"hosts": hosts})

    def forget_rejects(self) -> None:
        """Forget what was rejected, so that it is asked for again; pictures stay, and how often who was silent."""
        self._add({"forget": "rejects"})
        self._forget()

    def _forget(self) -> None:
        for note in self._notes.values():
            note.reject = None

    def _path(self, location: str) -> Path:
        name = _name(location)
        return self._pictures / name[:2] / name

    def _add(self, line: dict[str, object]) -> None:
        text = json.dumps(line, ensure_ascii=True, sort_keys=True) + "\n"
        try:
            with self._write, self._journal.open("a", encoding="ascii") as handle:
                handle.write(text)
        except OSError as error:
            raise Refusal(system_line(error, self._journal) or f"{self._journal}: {error}") from error

    def _read_journal(self) -> None:
        if not self._journal.exists():
            return
        text = ""
        with self._journal.open(encoding="ascii", errors="replace") as lines:
            for text in lines:
                try:
                    line = json.loads(text)
                except ValueError:  # cut short by a kill: that address is asked for again
                    continue
                if "hosts" in line:
                    self.hosts = line["hosts"]
                elif "forget" in line:
                    self._forget()
                else:
                    said = line.get("reject")
                    self._notes[line["address"]] = Note(tuple(said) if said else None, line["silent_runs"])
        if text and not text.endswith("\n"):
            with self._journal.open("a", encoding="ascii") as handle:
                handle.write("\n")  # or the next line would be lost with it


def _name(location: str) -> str:
    return digest_of(location).hex()
