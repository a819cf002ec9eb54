"""The record that says which collection a library is in, and how its chunks are made.

It is one record in the collection `cms_settings`, so that a switch to another collection is one
write: every request sees the library before it or behind it, and nothing in between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable

import numpy as np

from cms.connection import Requests
from cms.errors import CannotWork, LibraryBusy, ServerRefused

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

#: The collection of the settings. Name it in Achromat's `guard.protected` to keep it from deletion.
SETTINGS = "cms_settings"


@dataclass(frozen=True)
class Pointer:
    """Where a library is: its collection, its embedding's name, the size of its chunks.

    `reindexing` is the collection that a re-index builds, or "" when none is under way.
    """

    collection: str
    embedding: str
    chunk_chars: int
    reindexing: str = ""


class LibrarySettings:
    """Reads and writes one library's pointer."""

    def __init__(self, client: ClientAPI, requests: Requests, library: str) -> None:
        self._client = client
        self._requests = requests
        self._library = library
        self._store: Collection | None = None

    def read(self) -> Pointer | None:
        """Returns the pointer, or None when nothing was ever written to the library; makes nothing."""
        try:
            store = self._records(self._client.get_collection)
        except ServerRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        found = self._requests.call("settings", lambda: store.get(ids=[self._library], include=["metadatas"]))
        for about in found["metadatas"] or []:
            return Pointer(
                collection=str(about["collection"]),
                embedding=str(about["embedding"]),
                chunk_chars=int(str(about["chunk_chars"])),
                reindexing=str(about["reindexing"]),
            )
        return None

    def write(self, pointer: Pointer) -> None:
        """Replaces the pointer, in one request."""
        store = self._records(self._client.get_or_create_collection)
        self._requests.call(
            "settings",
            lambda: store.upsert(
                ids=[self._library],
                # Every record has a vector; nobody searches here.
                embeddings=np.ones((1, 1), dtype=np.float32),
                documents=[pointer.collection],
                metadatas=[
                    {
                        "collection": pointer.collection,
                        "embedding": pointer.embedding,
                        "chunk_chars": pointer.chunk_chars,
                        "reindexing": pointer.reindexing,
                    }
                ],
            ),
        )

    def forget(self) -> None:
        """Deletes the pointer."""
        store = self._records(self._client.get_collection)
        self._requests.call("settings", lambda: store.delete(ids=[self._library]))

    def _records(self, find: Callable[..., Collection]) -> Collection:
        if self._store is None:
            self._store = self._requests.call("settings", lambda: find(SETTINGS, embedding_function=None))
        return self._store


def for_change(pointer: Pointer, library: str) -> Pointer:
    """Returns a pointer whose library may be changed. Raises LibraryBusy during a re-index."""
    if pointer.reindexing:
        raise LibraryBusy(
            f"the library {library} is being re-indexed into {pointer.reindexing}; repeat it afterwards, "
            "or end a re-index that died with `cms reindex --abandon`"
        )
    return pointer


def with_choice(pointer: Pointer, embedding: str | None, chunk_chars: int | None) -> Pointer:
    """Checks what a person asked for against what the library has; None is no wish."""
    wished = replace(pointer, embedding=embedding or pointer.embedding, chunk_chars=chunk_chars or pointer.chunk_chars)
    if wished != pointer:
        raise CannotWork(
            f"the library was made with --embedding {pointer.embedding} --chunk-chars {pointer.chunk_chars}; "
            "`cms reindex` changes that"
        )
    return pointer
