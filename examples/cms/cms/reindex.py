"""Re-index: builds the library anew in another collection, and switches to it in one write.

Chunks of a document, joined, are its text, so nothing but the old collection is needed. Searches
go on in the old collection; changes are refused meanwhile (`LibraryBusy`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cms.chunks import split
from cms.embedding import embedding, tried
from cms.errors import CmsError
from cms.library import Library
from cms.records import Document
from cms.settings import Pointer, for_change

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection


@dataclass(frozen=True)
class Reindexed:
    """What a re-index has made: documents and chunks in the collection `new`."""

    old: str
    new: str
    documents: int
    chunks: int


def reindex(library: Library, embedding_name: str | None = None, chunk_chars: int | None = None) -> Reindexed:
    """Builds a new collection fully, compares the counts, switches, deletes the old collection.

    Raises LibraryBusy when one is under way, CmsError when the counts differ: then the library
    stays where it was.
    """
    before = for_change(library.pointer(), library.name)
    after = Pointer(
        collection=_next_name(library.name, before.collection),
        embedding=embedding_name or before.embedding,
        chunk_chars=chunk_chars or before.chunk_chars,
    )
    # A model that cannot be loaded is noticed before anything is changed.
    tried(after.embedding)
    library.settings.write(replace(before, reindexing=after.collection))
    try:
        old = library.collection(before.collection)
        library.drop(after.collection)
        documents = _build(library, old, library.make(after.collection), before, after)
    except BaseException:
        # Also when a person ends it: the library goes on where it was.
        library.settings.write(before)
        raise
    library.settings.write(after)
    library.drop(before.collection)
    chunks = sum(document.count for document in documents)
    return Reindexed(before.collection, after.collection, len(documents), chunks)


def abandon(library: Library) -> str:
    """Ends a re-index whose process died, and deletes what it had built; returns that name, or ""."""
    pointer = library.pointer()
    if pointer.reindexing:
        library.drop(pointer.reindexing)
        library.settings.write(replace(pointer, reindexing=""))
    return pointer.reindexing


def _build(library: Library, old: Collection, new: Collection, before: Pointer, after: Pointer) -> list[Document]:
    """Copies all documents, and returns them as they stand in the new collection, or raises."""
    made = []
    for document in library.documents(before.collection):
        count = sum(1 for _ in split(_text(library, old, document), after.chunk_chars))
        again = replace(document, count=count)
        chunks = split(_text(library, old, document), after.chunk_chars)
        library.write(new, again, chunks, embedding(after.embedding))
        made.append(again)
    counted = library.requests.call("count", new.count)
    wanted = sum(document.count for document in made)
    if counted != wanted or library.documents(after.collection) != made:
        raise CmsError(f"{after.collection} has {counted} chunks instead of {wanted}; nothing was switched")
    return made


def _text(library: Library, collection: Collection, document: Document) -> Iterator[str]:
    """Yields a document's chunks in order. Raises CmsError when one is missing."""
    wanted = 0
    while wanted < document.count:
        found = library.window(collection, document.document_id, wanted)
        for piece in found:
            if piece.metadata["position"] != wanted or piece.metadata["digest"] != document.digest:
                raise CmsError(f"{document.file} is not whole: ingest it again, then repeat the re-index")
            yield piece.text
            wanted += 1
        if not found:
            raise CmsError(f"{document.file} lacks chunk {wanted}: ingest it again, then repeat the re-index")


def _next_name(library: str, collection: str) -> str:
    number = collection.rsplit("-", 1)[-1]
    return f"{library}-{int(number) + 1 if number.isdigit() else 1}"
