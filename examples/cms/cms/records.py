"""What stands in a collection: a document's chunks as records, and how they are found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cms.chunks import Chunk
from cms.files import SourceFile, Survey


@dataclass(frozen=True)
class Document:
    """What the library knows of a file: its id, name, SHA-256 in hex, and number of chunks."""

    document_id: str
    file: str
    digest: str
    count: int


@dataclass(frozen=True)
class Piece:
    """A chunk as it is stored."""

    id: str
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Hit:
    """A chunk that a search found. `score` is the cosine similarity, from -1 to 1."""

    score: float
    document_id: str
    file: str
    position: int
    text: str


def piece(document: Document, chunk: Chunk) -> Piece:
    """Returns the record of a chunk."""
    metadata = {
        "document_id": document.document_id,
        "file": document.file,
        "position": chunk.position,
        "count": document.count,
        "digest": document.digest,
    }
    return Piece(f"{document.document_id}:{chunk.position:06}", chunk.text, metadata)


def document_of(file: SourceFile, about: Survey) -> Document:
    """Returns what the library should know of a file."""
    return Document(file.document_id, file.name, about.digest, about.count)


def stored_document(metadata: Mapping[str, Any]) -> Document:
    """Returns the document that a stored chunk's metadata tells of."""
    about = metadata
    return Document(str(about["document_id"]), str(about["file"]), str(about["digest"]), int(about["count"]))


def pieces_of(found: Any) -> list[Piece]:
    """Returns the records of an answer to `get`, whose texts are missing when they were not asked for."""
    texts = found["documents"] or [""] * len(found["ids"])
    rows = zip(found["ids"], texts, found["metadatas"])
    return [Piece(identity, text or "", dict(about or {})) for identity, text, about in rows]
