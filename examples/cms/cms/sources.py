"""Where a comparison reads from: the collection behind the address, or one server's own copy."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cms.connection import Server
from cms.errors import CannotWork, ServerRefused, message_of

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection

#: Seconds that a server has to answer one request of a comparison.
TIMEOUT_S = 60.0
#: Seconds between two questions about what is owed.
PAUSE_S = 0.1
_DATABASE = "/api/v2/tenants/default_tenant/databases/default_database"


@dataclass(frozen=True)
class Record:
    """A record as it is stored; `embedding` has the collection's dimension."""

    id: str
    text: str
    metadata: dict[str, Any]
    embedding: list[float]


class Source(Protocol):
    """Something that has a copy of a collection. `name` says which one it is."""

    name: str

    def get(self, ids: Sequence[str] | None, include: Sequence[str]) -> dict[str, Any]:
        """Returns the records with these ids, or all: `ids` and what is to be included, in columns."""


class ThroughAddress:
    """The collection as clients see it, through the official client."""

    def __init__(self, name: str, library: Any, collection: Collection) -> None:
        self.name = name
        self._library = library
        self._collection = collection

    def get(self, ids: Sequence[str] | None, include: Sequence[str]) -> dict[str, Any]:
        """See Source."""
        wished: Any = list(include)
        chosen = None if ids is None else list(ids)
        found = self._library.requests.call("get", lambda: self._collection.get(ids=chosen, include=wished))
        return dict(found)


class Instance:
    """One Chroma server's own copy, by the UUID that this server gave the collection.

    It speaks HTTP itself: servers before 1.5.7 have no way to open a collection by its UUID.
    """

    def __init__(self, name: str, url: str, collection_id: str, ca: Path | None = None) -> None:
        self.name = name
        self._server = Server(url, ca=ca)
        self._collection_id = collection_id

    def get(self, ids: Sequence[str] | None, include: Sequence[str]) -> dict[str, Any]:
        """See Source."""
        body: dict[str, Any] = {"include": list(include)}
        if ids is not None:
            body["ids"] = list(ids)
        return ask(self._server, f"{_DATABASE}/collections/{self._collection_id}/get", body)


def stored(source: Source, ids: Sequence[str]) -> dict[str, Record]:
    """Returns what a source has of these ids, by id."""
    found = source.get(ids, ["documents", "metadatas", "embeddings"])
    rows = zip(found["ids"], found["documents"], found["metadatas"], found["embeddings"])
    return {row[0]: Record(row[0], row[1] or "", dict(row[2] or {}), list(row[3])) for row in rows}


def all_ids(source: Source) -> list[str]:
    """Returns the ids of all records of a source. Of ids alone, one answer holds any number."""
    return list(source.get(None, [])["ids"])


def ask(server: Server, path: str, body: dict[str, Any] | None = None) -> Any:
    """Returns the JSON of an answer: to a POST with a body, to a GET without one.

    Raises CannotWork when nobody answers within TIMEOUT_S, ServerRefused for any status but 2xx.
    """
    data = None if body is None else json.dumps(body).encode("utf-8")
    headers = {"Content-Type": "application/json", **server.headers()}
    request = urllib.request.Request(server.url.rstrip("/") + path, data=data, headers=headers)
    context = ssl.create_default_context(cafile=str(server.ca)) if server.ca else None
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        said = message_of(Exception(error.read().decode("utf-8", "replace")))
        raise ServerRefused(f"{server.url}{path} answered {error.code}: {said}", error.code) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise CannotWork(f"cannot ask {server.url}{path}: {reason}") from None


def instances_of(achromat: Server, collection: str) -> list[Instance]:
    """Returns each Chroma server's own copy of a collection, as Achromat's mappings name them.

    Raises ServerRefused where there is no Achromat, CannotWork when a server lacks the collection.
    """
    urls = {instance["name"]: instance["url"] for instance in ask(achromat, "/status")["instances"]}
    for mapping in ask(achromat, "/admin/collection_mappings")["collection_mappings"]:
        is_default = (mapping["tenant"], mapping["database"]) == ("default_tenant", "default_database")
        if mapping["collection_name"] != collection or not is_default:
            continue
        lacking = [name for name in urls if not mapping["instances"].get(name)]
        if lacking:
            raise CannotWork(f"{', '.join(lacking)} has no copy of {collection} yet")
        return [Instance(name, url, mapping["instances"][name]) for name, url in sorted(urls.items())]
    raise CannotWork(f"Achromat knows no collection {collection}")


def wait_nothing_owed(achromat: Server, wait_s: float) -> int:
    """Waits until every write has reached every server; returns how many have not when the time is over."""
    end = time.monotonic() + wait_s
    while True:
        owed = int(ask(achromat, "/admin/wal_count")["pending_writes"])
        if not owed or time.monotonic() >= end:
            return owed
        time.sleep(PAUSE_S)
