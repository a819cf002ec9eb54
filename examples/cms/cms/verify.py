"""Compares every chunk of every file with what is stored; changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Callable

import numpy as np

from cms.chunks import split
from cms.embedding import Embedding, embedding
from cms.files import Reading, SourceFile, shown, survey
from cms.records import Document, Piece, document_of, piece
from cms.settings import Pointer
from cms.sources import Record, Source, records

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
    known = set(uncertain)
    for file in files:
        if file.document_id in uncertain:
            continue
        known.add(file.document_id)
        stored = {r.id: r for r in records(source, {"document_id": file.document_id})}
        for wanted, vector in _wanted(file, pointer, embed):
            result.chunks += 1
            what = _difference(wanted, vector, stored.pop(wanted.id, None), embed.is_exact)
            if what:
                result.add(what, wanted.id, file.name)
        for record in stored.values():
            result.add("extra", record.id, file.name)
        result.documents += 1
    for record in records(source, None):
        if record.metadata.get("document_id") not in known:
            result.add("extra", record.id, str(record.metadata.get("file", "no file")))
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


def _wanted(file: SourceFile, pointer: Pointer, embed: Embedding) -> Iterator[tuple[Piece, np.ndarray]]:
    """Yields what should be stored of a file: each chunk's record and vector (shape: dimension)."""
    document: Document = document_of(file, survey(file, pointer.chunk_chars))
    batch: list[Piece] = []
    for chunk in split(Reading(file).blocks(), pointer.chunk_chars):
        batch.append(piece(document, chunk))
        if len(batch) == BATCH_CHUNKS:
            yield from zip(batch, embed([p.text for p in batch]))
            batch = []
    if batch:
        yield from zip(batch, embed([p.text for p in batch]))


def _difference(wanted: Piece, vector: np.ndarray, stored: Record | None, is_exact: bool) -> str:
    """Returns what differs, or ""."""
    if stored is None:
        return "missing"
    if stored.text != wanted.text:
        return "text"
    if stored.metadata != wanted.metadata:
        return "metadata"
    held = np.asarray(stored.embedding, dtype=np.float32)
    if held.shape != vector.shape:
        return "embedding"
    is_equal = np.array_equal(held, vector) if is_exact else np.allclose(held, vector, atol=MODEL_TOLERANCE)
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
