"""Counts requests: how many, how long, which failed and why. It hides nothing.

A request is sent once. Only with `pause_s` is it repeated, and only when the connection was refused
or broke, which is what clients see while a proxy restarts. That is safe because every request of the
load has the same effect however often it is carried out: upserts have deterministic ids, and nobody
else writes to the documents that a writer deletes.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Callable

from cms.connection import Requests, Result, is_programming_error
from cms.errors import CmsError, causes, is_broken_connection, is_refused_connection, message_of, status_of

#: Failures that are told in full; the rest is only counted.
FAILURES_MAX = 20
#: The word for the status of a request that was never answered.
NO_ANSWER = "no answer"
#: Seconds between two attempts to connect while connections are refused.
RETRY_S = 0.05
#: Shares of the requests whose latency is reported.
PERCENTILES = (0.5, 0.9, 0.99)


class RequestFailed(CmsError):
    """A request that was counted as failed. Whether a write was carried out is unknown."""


@dataclass
class Tally:
    """What has happened so far. `latencies_s` has one number for each request answered with success, by kind."""

    answered: int = 0
    failed: int = 0
    refused: int = 0
    interrupted: int = 0
    failures: list[dict[str, object]] = field(default_factory=list)
    failures_by_kind: Counter = field(default_factory=Counter)
    failures_by_status: Counter = field(default_factory=Counter)
    latencies_s: dict[str, list[float]] = field(default_factory=dict)


class Recorder(Requests):
    """Sends requests for many threads and counts them."""

    def __init__(self, url: str, pause_s: float = 0.0) -> None:
        super().__init__(url)
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self.tally = Tally()

    def call(self, kind: str, act: Callable[[], Result]) -> Result:
        """Carries out one request. Raises RequestFailed when it was not answered with success."""
        away_since: float | None = None
        while True:
            begun = time.monotonic()
            try:
                result = act()
            except Exception as error:
                # The client raises bare `Exception` for bodies that it does not know.
                if is_programming_error(error):
                    raise
                away_since = away_since or time.monotonic()
                if not self._may_repeat(error, away_since):
                    raise self._failed(kind, error, begun) from error
                time.sleep(RETRY_S)
                continue
            with self._lock:
                self.tally.answered += 1
                self.tally.latencies_s.setdefault(kind, []).append(time.monotonic() - begun)
            return result

    def _may_repeat(self, error: Exception, away_since: float) -> bool:
        if not self._pause_s or time.monotonic() - away_since > self._pause_s:
            return False
        is_refused = is_refused_connection(error)
        if not is_refused and not is_broken_connection(error):
            return False
        with self._lock:
            if is_refused:
                self.tally.refused += 1
            else:
                self.tally.interrupted += 1
        return True

    def _failed(self, kind: str, error: Exception, begun: float) -> RequestFailed:
        said = f"{type(next(causes(error))).__name__}: {message_of(error)}"
        status = status_of(error)
        with self._lock:
            self.tally.failed += 1
            self.tally.failures_by_kind[kind] += 1
            self.tally.failures_by_status[str(status or NO_ANSWER)] += 1
            if len(self.tally.failures) < FAILURES_MAX:
                self.tally.failures.append(
                    {
                        "kind": kind,
                        "status": status,
                        "error": said[:500],
                        "at_s": round(begun - self._start, 3),
                        "took_s": round(time.monotonic() - begun, 3),
                    }
                )
        return RequestFailed(f"{kind}: {said}")


def latencies_ms(latencies_s: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Returns count, percentiles (nearest rank) and maximum in milliseconds, by kind and for all."""
    groups = {kind: sorted(times) for kind, times in latencies_s.items()}
    groups["all"] = sorted(t for times in latencies_s.values() for t in times)
    return {kind: _summary(times) for kind, times in sorted(groups.items()) if times}


def _summary(times: list[float]) -> dict[str, float]:
    summary: dict[str, float] = {"count": len(times)}
    for share in PERCENTILES:
        rank = min(len(times) - 1, int(share * len(times)))
        summary[f"p{share * 100:g}"] = round(times[rank] * 1000, 1)
    summary["max"] = round(times[-1] * 1000, 1)
    return summary
