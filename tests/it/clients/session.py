"""Everything that a client of Chroma does, through Achromat, with both instances compared after
each step. Arguments: Achromat's port, then those of the instances."""

import sys
import time

import chromadb

PORT, *INSTANCES = (int(port) for port in sys.argv[1:])
INCLUDE = ["documents", "metadatas", "embeddings", "uris"]


def client(port, **where):
    return chromadb.HttpClient(host="127.0.0.1", port=port, **where)


def contents(port, where):
    """All that one server holds, and the UUIDs under which it holds it."""
    held, uuids = {}, {}
    server = client(port, **where)
    for collection in server.list_collections():
        got = collection.get(include=INCLUDE)
        columns = zip(got["ids"], got["documents"], got["metadatas"], got["embeddings"], got["uris"])
        records = {i: (d, m, [float(x) for x in e], u) for i, d, m, e, u in columns}
        held[collection.name] = (collection.metadata, records)
        uuids[collection.name] = collection.id
    return held, uuids


def equal(step, **where):
    """Waits until both instances hold what Achromat shows, each under its own UUIDs."""
    shown, ours = contents(PORT, where)
    deadline = time.monotonic() + 20
    while True:
        try:
            (one, a), (two, b) = (contents(port, where) for port in INSTANCES)
            assert shown == one == two, f"{step}: {shown} {one} {two}"
            break
        except Exception:
            # The replica may be in the middle of the write; Chroma then even answers 500.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    for name in shown:
        assert len({ours[name], a[name], b[name]}) == 3, f"{step}: ids are not each one's own"
    print("equal after", step)
    return shown


def raises(call, kind):
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError(f"{call} did not raise {kind}")


api = client(PORT)
assert api.heartbeat() > 0
assert api.get_version() and api.get_max_batch_size() > 0

notes = api.create_collection("notes", metadata={"about": "tests"}, embedding_function=None)
assert api.get_collection("notes").id == notes.id
assert api.get_or_create_collection("notes").id == notes.id
assert api.count_collections() == 1 and [c.name for c in api.list_collections()] == ["notes"]
raises(lambda: api.create_collection("notes"), chromadb.errors.ChromaError)
equal("create")

ids = [f"id{n}" for n in range(20)]
notes.add(
    ids=ids,
    embeddings=[[float(n), n / 7, -1.0] for n in range(20)],
    documents=[f"document {n} about {'cats' if n % 2 else 'dogs'}" for n in range(20)],
    metadatas=[{"document_id": f"d{n // 4}", "n": n, "odd": bool(n % 2)} for n in range(20)],
)
assert notes.count() == 20
equal("add")

notes.upsert(ids=["id0", "new"], embeddings=[[9.0, 9.0, 9.0], [8.0, 8.0, 8.0]], documents=["zero", "new"])
equal("upsert")

notes.update(ids=["id1"], embeddings=[[1.0, 1.0, 1.0]], metadatas=[{"changed": True}], documents=["one"])
assert notes.get(ids=["id1"])["documents"] == ["one"]
equal("update")

assert notes.get(where={"document_id": "d2"})["ids"] == ["id8", "id9", "id10", "id11"]
assert len(notes.get(limit=5, offset=3)["ids"]) == 5
assert len(notes.get(where_document={"$contains": "cats"})["ids"]) == 9
found = notes.query(query_embeddings=[[8.1, 8.0, 8.0]], n_results=3)
assert found["ids"][0][0] == "new", found
assert len(notes.peek(3)["ids"]) == 3

notes.delete(ids=["id2", "id3"])
equal("delete by ids")
notes.delete(where={"document_id": "d2"})
equal("delete by where")
notes.delete(where={"document_id": {"$in": ["d3", "d4"]}})
equal("delete by $in")
notes.delete(where_document={"$contains": "dogs"})
shown = equal("delete by where_document")
assert sorted(shown["notes"][1]) == ["id0", "id1", "id5", "id7", "new"], shown

notes.modify(name="renamed", metadata={"about": "something else"})
raises(lambda: api.get_collection("notes"), chromadb.errors.NotFoundError)
assert api.get_collection("renamed").metadata == {"about": "something else"}
equal("modify")

admin = chromadb.AdminClient(chromadb.Settings(
    chroma_api_impl="chromadb.api.fastapi.FastAPI",
    chroma_server_host="127.0.0.1",
    chroma_server_http_port=PORT,
))
admin.create_tenant("acme")
admin.create_database("cms", "acme")
assert admin.get_tenant("acme")["name"] == "acme"
assert admin.get_database("cms", "acme")["name"] == "cms"
assert [d["name"] for d in admin.list_databases(tenant="acme")] == ["cms"]
there = client(PORT, tenant="acme", database="cms")
pages = there.create_collection("pages")
pages.add(ids=["p"], embeddings=[[1.0, 2.0]])
equal("tenant and database", tenant="acme", database="cms")
assert [c.name for c in api.list_collections()] == ["renamed"]
admin.delete_database("cms", "acme")
for port in (PORT, *INSTANCES):
    raises(lambda: client(port, tenant="acme", database="cms"), Exception)

api.delete_collection("renamed")
raises(lambda: api.delete_collection("renamed"), chromadb.errors.NotFoundError)
assert equal("delete collection") == {}
print("all is well")
