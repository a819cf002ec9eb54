"""A load: writers and readers at once, every request counted, and every acknowledged change verified."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from cms.connection import Requests, Server
from cms.errors import CannotWork
from cms.files import find
from cms.library import Library
from cms.recorder import Recorder, latencies_ms
from cms.sources import ThroughAddress
from cms.verify import Comparison, as_json, compare
from cms.writers import Client, Reader, Writer

#: Seconds that a request under way may take when the load is told to stop.
LAST_ANSWER_S = 90.0
#: Seconds between two lines of progress.
PROGRESS_S = 1.0


@dataclass(frozen=True)
class Plan:
    """What to do: numbers of threads, seconds, the folder of the files, and how patient to be."""

    writers: int
    readers: int
    seconds: float
    folder: Path
    seed: int
    pause_while_refused_s: float


def run(
    server: Server, library_name: str, plan: Plan, stopped: threading.Event, tell: Callable[[dict[str, object]], None]
) -> dict[str, object]:
    """Carries out a plan and returns its report; `ok` says whether all went well.

    `tell` gets the figures of each second. Setting `stopped` ends the load early. Raises CannotWork
    when nobody answers at the start, or when the library has documents already.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    if any(plan.folder.iterdir()):
        raise CannotWork(f"{plan.folder} is not empty; a load needs a folder of its own")
    first = Library(server, library_name)
    if first.settings.read() and first.documents():
        raise CannotWork(f"the library {library_name} has documents; a load needs a library of its own")
    pointer = first.prepare()
    recorder = Recorder(server.url, plan.pause_while_refused_s)
    clients = _clients(server, library_name, plan, recorder, stopped)
    begun = time.monotonic()
    with _running(clients) as threads:
        while not stopped.wait(PROGRESS_S) and time.monotonic() - begun < plan.seconds:
            tell(_progress(recorder, time.monotonic() - begun))
        stopped.set()
        unfinished = _join(threads)
    seconds = time.monotonic() - begun
    for client in clients:
        if client.trouble is not None:
            raise client.trouble
    uncertain: set[str] = set()
    for client in clients:
        uncertain |= client.uncertain if isinstance(client, Writer) else set()
    after = Library(server, library_name, Requests(server.url))
    files, _ = find(plan.folder)
    source = ThroughAddress("address", after, after.collection(pointer.collection))
    verified = compare(files, pointer, source, uncertain)
    return _report(recorder, clients, seconds, unfinished, sorted(uncertain), verified)


def _clients(
    server: Server, library_name: str, plan: Plan, recorder: Recorder, stopped: threading.Event
) -> list[Client]:
    """Connects each client, with connections of its own."""
    seeds = random.Random(plan.seed)
    clients: list[Client] = []
    for number in range(plan.writers):
        library = Library(server, library_name, recorder)
        clients.append(Writer(library, seeds.randrange(2**32), stopped, plan.folder, number))
    for _ in range(plan.readers):
        clients.append(Reader(Library(server, library_name, recorder), seeds.randrange(2**32), stopped))
    return clients


@contextmanager
def _running(clients: Sequence[Client]) -> Iterator[list[threading.Thread]]:
    # As daemons they do not keep the program when a request is never answered.
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    yield threads


def _join(threads: Sequence[threading.Thread]) -> int:
    """Waits for the last answers; returns how many clients never got theirs."""
    end = time.monotonic() + LAST_ANSWER_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return sum(thread.is_alive() for thread in threads)


def _progress(recorder: Recorder, seconds: float) -> dict[str, object]:
    tally = recorder.tally
    return {
        "seconds": round(seconds, 1),
        "answered": tally.answered,
        "failed": tally.failed,
        "refused": tally.refused,
        "interrupted": tally.interrupted,
    }


def _report(
    recorder: Recorder,
    clients: Sequence[Client],
    seconds: float,
    unfinished: int,
    uncertain: list[str],
    verified: Comparison,
) -> dict[str, object]:
    tally = recorder.tally
    deeds: dict[str, int] = {}
    for client in clients:
        for deed, count in client.deeds.items():
            deeds[deed] = deeds.get(deed, 0) + count
    stale = [line for client in clients for line in client.stale]
    return {
        "ok": not (tally.failed or stale or unfinished or verified.differing),
        **_progress(recorder, seconds),
        "requests": tally.answered + tally.failed,
        "per_second": round(tally.answered / seconds, 1),
        "unfinished": unfinished,
        "stale": stale[:20],
        "stale_count": len(stale),
        "vanished_hits": sum(client.library.vanished for client in clients),
        "deeds": deeds,
        "failures": tally.failures,
        "failed_by_kind": dict(tally.failures_by_kind),
        "failed_by_status": dict(tally.failures_by_status),
        "latency_ms": latencies_ms(tally.latencies_s),
        "uncertain": uncertain,
        "verified": as_json([verified])[0],
    }
