"""Comparisons and the load, against a real Chroma server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import pytest

from cms.connection import Server
from cms.library import Library


@pytest.fixture
def held(cms: Callable, folder: Path, url: str, library: str) -> Library:
    """A library with the two documents."""
    assert cms("ingest", folder).code == 0
    return Library(Server(url), library)


def spoil_text(collection: object, identity: str) -> None:
    """Changes a text and leaves its vector."""
    collection.update(
        ids=[identity],
        documents=["spoilt"],
        embeddings=collection.get(  # type: ignore[attr-defined]
            ids=[identity], include=["embeddings"]
        )["embeddings"],
    )


def spoil_metadata(collection: object, identity: str) -> None:
    """Changes one value."""
    collection.update(ids=[identity], metadatas=[{"digest": "0"}])  # type: ignore[attr-defined]


def spoil_vector(collection: object, identity: str) -> None:
    """Changes one number of a vector by a little."""
    vector = collection.get(ids=[identity], include=["embeddings"])["embeddings"][0]  # type: ignore[attr-defined]
    vector[0] += 1e-6
    collection.update(ids=[identity], embeddings=[vector])  # type: ignore[attr-defined]


def lose(collection: object, identity: str) -> None:
    """Deletes a record."""
    collection.delete(ids=[identity])  # type: ignore[attr-defined]


def add(collection: object, identity: str) -> None:
    """Adds a record of an unknown document."""
    collection.add(  # type: ignore[attr-defined]
        ids=["extra"], documents=["extra"], embeddings=[[0.5] * 384], metadatas=[{"document_id": "unknown"}]
    )


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (spoil_text, "text"),
        (spoil_metadata, "metadata"),
        (spoil_vector, "embedding"),
        (lose, "missing"),
        (add, "extra"),
    ],
)
def test_each_difference_is_found(
    cms: Callable, folder: Path, url: str, held: Library, spoil: Callable, what: str
) -> None:
    """One changed value, number or record is told, through the address and from the server itself."""
    collection = held.collection(held.pointer().collection)
    direct = ("--instance", url, "--collection-id", collection.id)
    assert cms("verify", folder, *direct).code == 0
    spoil(collection, held.pieces(collection, {"file": "glass.md"})[0].id)
    told = cms("verify", folder, *direct, "--json")
    assert told.code == 1
    for source in json.loads(told.out):
        assert [d["what"] for d in source["differences"]] == [what], source


def test_a_wrong_collection_id_is_told(cms: Callable, folder: Path, url: str, held: Library) -> None:
    """An id that the server does not know is the server's own 404, in one line."""
    unknown = "00000000-0000-0000-0000-000000000000"
    told = cms("verify", folder, "--instance", url, "--collection-id", unknown)
    assert told.code == 1 and "404" in told.err and len(told.err.splitlines()) == 1


def test_a_load_verifies_what_was_acknowledged(process: Callable, tmp_path: Path, library: str) -> None:
    """A load on one server loses no write, and its folder verifies afterwards.

    A single Chroma fails some reads that meet a write (500); they are counted, and the code is 1.
    """
    files = tmp_path / "files"
    words = ("--library", library, "--folder", files, "--json")
    told = process("load", "--writers", 2, "--readers", 1, "--seconds", 4, *words)
    report = json.loads(told.out)
    assert told.code == (0 if report["ok"] else 1)
    assert set(report["failed_by_kind"]) <= {"query", "get"}, report["failures"]
    assert report["requests"] > 10 and report["stale"] == [] and report["uncertain"] == []
    assert {"upsert", "query", "get"} <= set(report["latency_ms"])
    assert report["verified"]["documents"] > 0
    assert process("verify", files).code == 0


def test_a_failed_request_is_counted() -> None:
    """Requests that nobody answers are failures, and the exit code says so: nothing is repeated in secret."""
    import httpx

    from cms.recorder import Recorder, RequestFailed

    recorder = Recorder("http://127.0.0.1:1", pause_s=0)
    with pytest.raises(RequestFailed):
        recorder.call("get", lambda: httpx.get("http://127.0.0.1:1"))
    assert (recorder.tally.failed, recorder.tally.refused) == (1, 0)
    patient = Recorder("http://127.0.0.1:1", pause_s=0.2)
    with pytest.raises(RequestFailed):
        patient.call("get", lambda: httpx.get("http://127.0.0.1:1"))
    assert patient.tally.failed == 1 and patient.tally.refused > 1
