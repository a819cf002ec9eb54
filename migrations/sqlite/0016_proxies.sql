-- A fleet, which only PostgreSQL's stores have: in SQLite one process holds the file, and these tables stay empty.

CREATE TABLE fleet (
    number INTEGER PRIMARY KEY,
    secret TEXT NOT NULL
) STRICT;

CREATE TABLE proxies (
    proxy   BLOB PRIMARY KEY NOT NULL,
    name    TEXT NOT NULL,
    address TEXT NOT NULL,
    version TEXT NOT NULL,
    instances TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT;

ALTER TABLE lease ADD COLUMN heir BLOB;
