// Everything that an npm client of Chroma does, through Achromat, with both instances compared
// after each step. Arguments: Achromat's port, then those of the instances.

import assert from "node:assert/strict";
import { AdminClient, ChromaClient } from "chromadb";

const [port, ...instances] = process.argv.slice(2).map(Number);
const include = ["documents", "metadatas", "embeddings"];

const client = (port, where = {}) => new ChromaClient({ host: "127.0.0.1", port, ...where });

// All that one server holds, and the UUIDs under which it holds it.
async function contents(port, where) {
  const held = {};
  const uuids = {};
  for (const collection of await client(port, where).listCollections()) {
    const got = await collection.get({ include });
    const records = got.ids.map((id, at) => [id, got.documents[at], got.metadatas[at], got.embeddings[at]]);
    records.sort(([a], [b]) => (a < b ? -1 : 1));
    held[collection.name] = { metadata: collection.metadata ?? null, records };
    uuids[collection.name] = collection.id;
  }
  return { held, uuids };
}

// Waits until both instances hold what Achromat shows, each under its own UUIDs.
async function equal(step, where) {
  const shown = await contents(port, where);
  const deadline = Date.now() + 20_000;
  for (;;) {
    try {
      const [one, two] = await Promise.all(instances.map((port) => contents(port, where)));
      assert.deepEqual(one.held, shown.held);
      assert.deepEqual(two.held, shown.held);
      for (const name of Object.keys(shown.held)) {
        const ids = new Set([shown.uuids[name], one.uuids[name], two.uuids[name]]);
        assert.equal(ids.size, 3, "ids are each one's own");
      }
      break;
    } catch (error) {
      // The replica may be in the middle of the write; Chroma then even answers 500.
      if (Date.now() > deadline) throw new Error(step, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  console.log("equal after", step);
  return shown.held;
}

const api = client(port);
assert.ok(await api.heartbeat());
assert.ok(await api.version());

const embeddingFunction = null;
const notes = await api.createCollection({ name: "notes", metadata: { about: "tests" }, embeddingFunction });
assert.equal((await api.getCollection({ name: "notes", embeddingFunction })).id, notes.id);
assert.equal((await api.getOrCreateCollection({ name: "notes", embeddingFunction })).id, notes.id);
assert.equal(await api.countCollections(), 1);
await assert.rejects(api.createCollection({ name: "notes", embeddingFunction }));
await equal("create");

const numbers = [...Array(20).keys()];
await notes.add({
  ids: numbers.map((n) => `id${n}`),
  embeddings: numbers.map((n) => [n, n / 8, -1]),
  documents: numbers.map((n) => `document ${n} about ${n % 2 ? "cats" : "dogs"}`),
  metadatas: numbers.map((n) => ({ document_id: `d${Math.floor(n / 4)}`, n })),
});
assert.equal(await notes.count(), 20);
await equal("add");

await notes.upsert({ ids: ["id0", "new"], embeddings: [[9, 9, 9], [8, 8, 8]], documents: ["zero", "new"] });
await equal("upsert");

await notes.update({ ids: ["id1"], embeddings: [[1, 1, 1]], metadatas: [{ changed: true }], documents: ["one"] });
await equal("update");

assert.deepEqual((await notes.get({ where: { document_id: "d2" } })).ids, ["id8", "id9", "id10", "id11"]);
const found = await notes.query({ queryEmbeddings: [[8.1, 8, 8]], nResults: 3 });
assert.equal(found.ids[0][0], "new");

await notes.delete({ ids: ["id2", "id3"] });
await equal("delete by ids");
await notes.delete({ where: { document_id: { $in: ["d2", "d3", "d4"] } } });
await equal("delete by where");
await notes.delete({ whereDocument: { $contains: "dogs" } });
const shown = await equal("delete by where_document");
assert.deepEqual(shown.notes.records.map(([id]) => id), ["id0", "id1", "id5", "id7", "new"]);

await notes.modify({ name: "renamed", metadata: { about: "something else" } });
await equal("modify");

const admin = new AdminClient({ host: "127.0.0.1", port });
await admin.createTenant({ name: "acme" });
await admin.createDatabase({ name: "cms", tenant: "acme" });
assert.equal((await admin.getDatabase({ name: "cms", tenant: "acme" })).name, "cms");
const where = { tenant: "acme", database: "cms" };
const pages = await client(port, where).createCollection({ name: "pages", embeddingFunction });
await pages.add({ ids: ["p"], embeddings: [[1, 2]] });
await equal("tenant and database", where);
await admin.deleteDatabase({ name: "cms", tenant: "acme" });

await api.deleteCollection({ name: "renamed" });
await assert.rejects(api.getCollection({ name: "renamed", embeddingFunction }));
assert.deepEqual(await equal("delete collection"), {});
console.log("all is well");
