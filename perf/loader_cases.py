"""The loader beside those of other libraries, beside a plain read, and beside itself at a late step."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from perf import page_cache, servers
from perf.figures import Measured, better_peer
from perf.peer_loaders import PEERS as PEER_KINDS
from perf.servers import Server
from perf.workshop import PEERS, Workshop, answer_of
from pipeline.errors import Refusal

OURS = "ours"
TOLERANCE = 0.01  # of the mean square of the latents, whose noise differs
LATE_STEP = 100_000
PAYLOADS = ("*.parquet", "*.tar", "*.mds")
UNIT = "samples/s"


def warm_loader(shop: Workshop, num_workers: int) -> Measured:
    """Samples a second from the page cache, ours beside the better peer."""
    folder = shop.rows_folder("warm")
    page_cache.warm(_payloads(folder))
    rates = _rates(shop, folder, num_workers, lambda: None)
    return better_peer([_beside(shop, rates, kind) for kind in PEERS])


def cold_loader(shop: Workshop) -> Measured:
    """Samples a second from the disk, each loader at the number of workers that suits it best."""
    folder = shop.rows_folder("cold")
    found = [
        _rates(shop, folder, num_workers, lambda: page_cache.evict(_payloads(folder))) for num_workers in (0, 1, 2)
    ]
    best = {name: max((rates[name] for rates in found), key=statistics.median) for name in found[0]}
    return better_peer([_beside(shop, best, kind) for kind in PEERS])


def share_of_plain_read(shop: Workshop, num_workers: int) -> Measured:
    """Samples a second beside those of a plain read of the same bytes, both from the page cache."""
    folder = shop.rows_folder("warm")
    flat = folder / "rows.bin"
    page_cache.warm([flat, *_payloads(folder)])
    num_rows = shop.sizes.warm.num_rows
    with servers.ours(folder, num_workers) as server:
        server.ask("epoch")
        pairs = [(_rate(server), num_rows / page_cache.sequential_seconds(flat)) for _ in range(shop.sizes.turns)]
    ours, plain = zip(*pairs, strict=True)
    return Measured(UNIT, ours, (statistics.median(plain),), more_is_better=True)


def resume(shop: Workshop) -> Measured:
    """Seconds to the first batch at a late step, beside those at the first and one more."""
    folder = shop.big_folder()
    seconds = [
        [answer_of(["perf.big_sets", "resume", str(folder), str(step)])["seconds"] for step in (0, LATE_STEP)]
        for _ in range(shop.sizes.turns)
    ]
    first = statistics.median(pair[0] for pair in seconds)
    return Measured("s", tuple(pair[1] for pair in seconds), (first + 1,), more_is_better=False)


def _rates(shop: Workshop, folder: Path, num_workers: int, before: Callable[[], None]) -> dict[str, list[float]]:
    """Samples a second of each loader in each turn; every other turn runs them backwards."""
    with ExitStack() as stack:
        running = {name: stack.enter_context(server) for name, server in _servers(shop, folder, num_workers)}
        _check_equal({name: server.ask("check") for name, server in running.items()})
        rates: dict[str, list[float]] = {name: [] for name in running}
        for turn in range(shop.sizes.turns):
            for name in list(running)[:: 1 if turn % 2 == 0 else -1]:
                before()
                rates[name].append(_rate(running[name]))
    return rates


def _servers(shop: Workshop, folder: Path, num_workers: int) -> Iterator[tuple[str, Server]]:
    yield OURS, servers.ours(folder, num_workers)
    for kind in PEER_KINDS:
        yield kind, servers.peer(shop.peers_python, kind, folder, num_workers)


def _rate(server: Server) -> float:
    found = server.ask("epoch")
    return float(found["num_rows"] / found["seconds"])


def _check_equal(answers: dict[str, dict[str, float]]) -> None:
    """Refuse loaders that do not give the same rows.

    Texts and the latents' means are compared to the bit, by sums over an epoch; the spread, which noise hides, by the
    mean square of the drawn latents.
    """
    own = answers[OURS]
    for name, found in answers.items():
        for key in ("num_rows", "text", "latents"):
            if found[key] != own[key]:
                raise Refusal(f"{name}: {key} sums to {found[key]}, ours to {own[key]}; nothing was timed")
        if not abs(found["squares"] - own["squares"]) <= TOLERANCE * own["squares"]:
            raise Refusal(f"{name}: latents of mean square {found['squares']:.4g}, ours {own['squares']:.4g}")


def _beside(shop: Workshop, rates: dict[str, list[float]], kind: str) -> Measured:
    package = PEERS[kind]
    ours, theirs = tuple(rates[OURS]), tuple(rates[kind])
    return Measured(UNIT, ours, theirs, True, package, shop.peer_versions()[package])


def _payloads(folder: Path) -> list[Path]:
    return sorted(path for pattern in PAYLOADS for path in folder.rglob(pattern))
