"""Compares every chunk of every file with what is stored; changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import islice
from typing import Callable

import numpy as np

from cms.chunks import split
from cms.embedding import Embedding, embedding
from cms.files import Reading, SourceFile, shown, survey
from cms.records import Document, Piece, document_of, piece
from cms.settings import Pointer
from cms.sources import Record, Source, all_ids, stored

#: Differences that are kept of one source; the rest is only counted.
DIFFERENCES_MAX = 200
#: How far a model's numbers may be apart, for the same text on another machine.
MODEL_TOLERANCE = 1e-4
#: Chunks that are embedded at a time.
BATCH_CHUNKS = 200
#: Seconds between two comparisons of the same source.
PAUSE_S = 0.5


@dataclass(frozen=True)
class Difference:
    """One chunk that is `missing`, `extra`, or whose `text`, `metadata` or `embedding` differs."""

    source: str
    what: str
    id: str
    file: str

    def __str__(self) -> str:
        return f"{self.source}: {self.what}: {shown(self.id)} of {shown(self.file)}"


@dataclass
class Comparison:
    """What was compared with one source, and what differed."""

    source: str
    documents: int = 0
    chunks: int = 0
    differences: list[Difference] = field(default_factory=list)
    differing: int = 0

    def add(self, what: str, identity: str, file: str) -> None:
        """Counts a difference, and keeps the first ones."""
        self.differing += 1
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(Difference(self.source, what, identity, file))


def compare(
    files: Sequence[SourceFile], pointer: Pointer, source: Source, uncertain: AbstractSet[str] = frozenset()
) -> Comparison:
    """Compares files with a source; documents whose ids are `uncertain` are passed over.

    Raises RefusedFile when a file is no document, and the errors of requests.
    """
    result = Comparison(source.name)
    embed = embedding(pointer.embedding)
    expected: set[str] = set()
    for file in files:
        if file.document_id in uncertain:
            continue
        for batch, vectors in _wanted(file, pointer, embed):
            held = stored(source, [wanted.id for wanted in batch])
            for wanted, vector in zip(batch, vectors):
                what = _difference(wanted, vector, held.get(wanted.id), embed.is_exact)
                if what:
                    result.add(what, wanted.id, file.name)
            expected.update(wanted.id for wanted in batch)
        result.documents += 1
    result.chunks = len(expected)
    others = [identity for identity in all_ids(source) if identity not in expected]
    for start in range(0, len(others), BATCH_CHUNKS):
        for identity, record in stored(source, others[start : start + BATCH_CHUNKS]).items():
            if record.metadata.get("document_id") not in uncertain:
                result.add("extra", identity, str(record.metadata.get("file", "no file")))
    return result


def compare_until_equal(
    look: Callable[[], Comparison], wait_s: float, clock: Callable[[], float] = time.monotonic
) -> Comparison:
    """Repeats a comparison until nothing differs, for `wait_s` seconds at most; returns the last one."""
    end = clock() + wait_s
    while True:
        result = look()
        if not result.differing or clock() >= end:
            return result
        time.sleep(PAUSE_S)


def _wanted(file: SourceFile, pointer: Pointer, embed: Embedding) -> Iterator[tuple[list[Piece], np.ndarray]]:
    """Yields what should be stored of a file, in batches: records, and their vectors in as many rows."""
    document: Document = document_of(file, survey(file, pointer.chunk_chars))
    chunks = split(Reading(file).blocks(), pointer.chunk_chars)
    for batch in iter(lambda: [piece(document, chunk) for chunk in islice(chunks, BATCH_CHUNKS)], []):
        yield batch, embed([p.text for p in batch])


def _difference(wanted: Piece, vector: np.ndarray, held: Record | None, is_exact: bool) -> str:
    """Returns what differs, or ""."""
    if held is None:
        return "missing"
    if held.text != wanted.text:
        return "text"
    if held.metadata != wanted.metadata:
        return "metadata"
    numbers = np.asarray(held.embedding, dtype=np.float32)
    if numbers.shape != vector.shape:
        return "embedding"
    is_equal = np.array_equal(numbers, vector) if is_exact else np.allclose(numbers, vector, atol=MODEL_TOLERANCE)
    return "" if is_equal else "embedding"


def as_json(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """Returns the comparisons for machines."""
    return [
        {
            "source": c.source,
            "documents": c.documents,
            "chunks": c.chunks,
            "differing": c.differing,
            "differences": [{"what": d.what, "id": d.id, "file": d.file} for d in c.differences],
        }
        for c in comparisons
    ]
