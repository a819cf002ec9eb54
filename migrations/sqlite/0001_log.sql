-- The log, the cursors and the catalog. A lane is named by its collection's id; the schema lane by 16 zero bytes.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES ('epoch', 0);

-- `head` is the last position given out, `trimmed` the last one deleted.
CREATE TABLE lanes (
    lane    BLOB PRIMARY KEY,
    head    INTEGER NOT NULL,
    trimmed INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The body stands last: what reads the rest never touches its pages.
CREATE TABLE entries (
    number       INTEGER PRIMARY KEY,
    lane         BLOB NOT NULL,
    position     INTEGER NOT NULL,
    entry        BLOB NOT NULL UNIQUE,
    epoch        INTEGER NOT NULL,
    logged_at_ms INTEGER NOT NULL,
    verb         TEXT NOT NULL,
    content_type TEXT,
    verdict      TEXT,
    reason       TEXT,
    body         BLOB NOT NULL,
    UNIQUE (lane, position)
) STRICT;

CREATE TABLE cursors (
    lane     BLOB NOT NULL,
    instance TEXT NOT NULL,
    position INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    PRIMARY KEY (lane, instance)
) STRICT, WITHOUT ROWID;

CREATE TABLE collections (
    collection BLOB PRIMARY KEY,
    tenant     TEXT NOT NULL,
    database   TEXT NOT NULL,
    name       TEXT NOT NULL,
    made_at    INTEGER NOT NULL,
    gone_at    INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE copies (
    collection  BLOB NOT NULL,
    instance    TEXT NOT NULL,
    instance_id BLOB,
    quarantine  TEXT,
    PRIMARY KEY (collection, instance)
) STRICT, WITHOUT ROWID;

CREATE TABLE databases (
    tenant   TEXT NOT NULL,
    name     TEXT NOT NULL,
    database BLOB NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
