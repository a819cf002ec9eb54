"""The library: documents in chunks, each chunk a record of one collection.

A record's id is `DOCUMENT_ID:POSITION`, so writing a chunk again changes nothing. A document is
replaced by writing its new chunks over the old ones and then deleting what is left of these. Until
that is done a search may meet chunks of both; whoever ingests again, mends a replacement that broke.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from cms.chunks import CHUNK_CHARS, Chunk, split
from cms.connection import Requests, Server
from cms.embedding import Embedding, HashEmbedding, embedding, tried
from cms.errors import LibraryBusy, RefusedFile, ServerRefused, UnknownDocument
from cms.files import Reading, SourceFile, shown, survey
from cms.records import Document, Hit, Piece, document_of, piece, pieces_of, stored_document
from cms.settings import LibrarySettings, Pointer, for_change, with_choice

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

#: Chunks of one request. The server's own bound holds as well, where it is lower.
BATCH_CHUNKS = 100
#: Records of one answer. A server gives 32,766 at most, but for ids alone.
ANSWER_RECORDS = 500
#: Chunks of a document that are read at a time: fewer, so that one answer tells that there are no more.
WINDOW_CHUNKS = ANSWER_RECORDS - 1


class Library:
    """One library on one server. It may be used by one thread at a time."""

    def __init__(self, server: Server, name: str, requests: Requests | None = None) -> None:
        """Connects. Raises CannotWork when nobody answers."""
        self.name = name
        self.client: ClientAPI = server.connect()
        self.requests = requests or Requests(server.url)
        self.settings = LibrarySettings(self.client, self.requests, name)
        #: Hits that were deleted while the server answered.
        self.vanished = 0
        self.batch_chunks = BATCH_CHUNKS
        server_max = self.requests.call("settings", self.client.get_max_batch_size)
        if server_max > 0:
            self.batch_chunks = min(server_max, BATCH_CHUNKS)
        self._opened: dict[str, Collection] = {}

    # Where it is

    def pointer(self) -> Pointer:
        """Returns where the library is. Raises UnknownDocument when nothing was ever ingested."""
        found = self.settings.read()
        if found is None:
            raise UnknownDocument(f"the library {self.name} is empty; begin with `cms ingest FOLDER`")
        return found

    def prepare(self, embedding_name: str | None = None, chunk_chars: int | None = None) -> Pointer:
        """Makes the library where there is none yet, and returns where it is, for a change.

        Raises CannotWork when it was made with other settings, LibraryBusy during a re-index.
        """
        found = self.settings.read()
        if found is None:
            made = embedding_name or HashEmbedding.name
            found = Pointer(f"{self.name}-1", made, chunk_chars or CHUNK_CHARS)
            # Before anything is made: a model may not be there.
            tried(made)
            self.make(found.collection)
            self.settings.write(found)
        return for_change(with_choice(found, embedding_name, chunk_chars), self.name)

    def make(self, name: str) -> Collection:
        """Makes a collection, or returns the one that is there. Distances are squared L2."""
        made = self.requests.call(
            "collection", lambda: self.client.get_or_create_collection(name, embedding_function=None)
        )
        self._opened[name] = made
        return made

    def collection(self, name: str) -> Collection:
        """Returns a collection by its name. Raises ServerRefused (404) when it is gone."""
        if name not in self._opened:
            self._opened[name] = self.requests.call(
                "collection", lambda: self.client.get_collection(name, embedding_function=None)
            )
        return self._opened[name]

    def drop(self, name: str) -> None:
        """Deletes a collection, if it is there."""
        self._opened.pop(name, None)
        try:
            self.requests.call("collection", lambda: self.client.delete_collection(name))
        except ServerRefused as refusal:
            if refusal.status != 404:
                raise

    def remove(self) -> None:
        """Deletes the library as a whole."""
        self.drop(self.pointer().collection)
        self.settings.forget()

    # Changes

    def ingest(self, file: SourceFile, must_be_known: bool = False) -> str:
        """Brings the library to what a file says; returns `new`, `changed` or `unchanged`.

        Raises RefusedFile for what is no document, UnknownDocument for a document that is not there
        although it must be, LibraryBusy, and the errors of requests.
        """
        pointer = self.prepare()
        collection = self.collection(pointer.collection)
        document = document_of(file, survey(file, pointer.chunk_chars))
        known = [p.metadata for p in self.pieces(collection, {"document_id": document.document_id}, texts=False)]
        if must_be_known and not known:
            raise UnknownDocument(f"there is no document {shown(file.name)}; `cms ingest` adds one")
        wanted = [piece(document, Chunk(position, "")).metadata for position in range(document.count)]
        if sorted(known, key=lambda about: about["position"]) == wanted:
            return "unchanged"
        reading = Reading(file)
        self.write(collection, document, split(reading.blocks(), pointer.chunk_chars), embedding(pointer.embedding))
        if any(about["position"] >= document.count for about in known):
            left: Any = {"$and": [{"document_id": document.document_id}, {"position": {"$gte": document.count}}]}
            self.requests.call("delete", lambda: collection.delete(where=left))
        self._assert_unmoved(pointer)
        if reading.digest != document.digest:
            raise RefusedFile(f"{shown(file.name)}: it changed while it was read; ingest it again")
        return "changed" if known else "new"

    def write(self, collection: Collection, document: Document, chunks: Iterable[Chunk], embed: Embedding) -> None:
        """Upserts chunks in batches, in order."""
        chunks = iter(chunks)
        for batch in iter(lambda: list(islice(chunks, self.batch_chunks)), []):
            pieces = [piece(document, chunk) for chunk in batch]
            texts = [p.text for p in pieces]
            vectors = embed(texts)
            self.requests.call(
                "upsert",
                lambda: collection.upsert(
                    ids=[p.id for p in pieces],
                    embeddings=vectors,
                    documents=texts,
                    metadatas=[p.metadata for p in pieces],
                ),
            )

    def delete(self, document_id: str) -> None:
        """Deletes a document, by one request. Raises UnknownDocument."""
        pointer = for_change(self.pointer(), self.name)
        collection = self.collection(pointer.collection)
        where: Any = {"document_id": document_id}
        found = self.requests.call("get", lambda: collection.get(where=where, limit=1, include=[]))
        if not found["ids"]:
            raise UnknownDocument(f"there is no document {shown(document_id)}")
        self.requests.call("delete", lambda: collection.delete(where=where))
        self._assert_unmoved(pointer)

    def _assert_unmoved(self, before: Pointer) -> None:
        """A re-index copies what was written before it began; a change that it may have missed fails."""
        if self.settings.read() != before:
            raise LibraryBusy(f"a re-index of {self.name} began meanwhile; repeat this change when it is over")

    # Questions

    def pieces(self, collection: Collection, where: Any, texts: bool = True) -> list[Piece]:
        """Returns all records that fit a filter, with their texts or without.

        More than one answer holds are asked for by their ids. Pages by offset would pass over
        records while others are deleted, and servers may differ in their order.
        """
        include: Any = ["documents", "metadatas"] if texts else ["metadatas"]
        found = self.requests.call("get", lambda: collection.get(where=where, limit=ANSWER_RECORDS, include=include))
        if len(found["ids"]) < ANSWER_RECORDS:
            return pieces_of(found)
        ids = self.requests.call("get", lambda: collection.get(where=where, include=[]))["ids"]
        pieces: list[Piece] = []
        for start in range(0, len(ids), ANSWER_RECORDS):
            batch = ids[start : start + ANSWER_RECORDS]
            pieces += pieces_of(self.requests.call("get", lambda: collection.get(ids=batch, include=include)))
        return pieces

    def window(self, collection: Collection, document_id: str, start: int) -> list[Piece]:
        """Returns a document's chunks from a position on, in order, as many as an answer holds."""
        bounds = [{"position": {"$gte": start}}, {"position": {"$lt": start + WINDOW_CHUNKS}}]
        found = self.pieces(collection, {"$and": [{"document_id": document_id}, *bounds]})
        return sorted(found, key=lambda p: p.metadata["position"])

    def documents(self, collection_name: str | None = None) -> list[Document]:
        """Returns all documents by the names of their files."""
        collection = self.collection(collection_name or self.pointer().collection)
        firsts = self.pieces(collection, {"position": 0}, texts=False)
        found = [stored_document(p.metadata) for p in firsts]
        return sorted(found, key=lambda document: (document.file, document.document_id))

    def find(self, word: str) -> Document:
        """Returns the document with this id or file name. Raises UnknownDocument, with what is near."""
        import difflib

        collection = self.collection(self.pointer().collection)
        where: Any = {"$or": [{"document_id": word}, {"file": word}]}
        found = self.requests.call("get", lambda: collection.get(where=where, limit=1, include=["metadatas"]))
        for about in found["metadatas"] or []:
            return stored_document(about)
        documents = self.documents()
        names = [d.file for d in documents] + [d.document_id for d in documents]
        near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(map(shown, near))}?" if near else "; `cms list` shows all"
        raise UnknownDocument(f"there is no document {shown(word)}{hint}")

    def open(self, document_id: str) -> Iterator[Piece]:
        """Yields the chunks of a document in order; joined, they are its text."""
        collection = self.collection(self.pointer().collection)
        start = 0
        while True:
            found = self.window(collection, document_id, start)
            if not found and not start:
                raise UnknownDocument(f"there is no document {shown(document_id)}")
            yield from found
            if not found:
                return
            start += WINDOW_CHUNKS

    def search(self, text: str, hits_max: int = 5, document_id: str | None = None) -> list[Hit]:
        """Returns the chunks that are most similar to a text, the best first."""
        pointer = self.pointer()
        collection = self.collection(pointer.collection)
        vector = embedding(pointer.embedding)([text])
        where: Any = {"document_id": document_id} if document_id else None
        found = self.requests.call(
            "query",
            lambda: collection.query(
                query_embeddings=vector,
                n_results=hits_max,
                where=where,
                include=["documents", "metadatas", "distances"],
            ),
        )
        rows = zip((found["distances"] or [[]])[0], (found["metadatas"] or [[]])[0], (found["documents"] or [[]])[0])
        hits = []
        for distance, about, passage in rows:
            if about is None:
                # The server found the vector, and then no record: it was deleted meanwhile.
                self.vanished += 1
                continue
            place = (str(about["document_id"]), str(about["file"]), int(str(about["position"])))
            hits.append(Hit(1 - distance / 2, *place, passage or ""))
        return hits
