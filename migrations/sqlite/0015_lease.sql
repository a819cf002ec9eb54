-- The lease of a fleet, which only PostgreSQL's stores have: in SQLite one process holds the file.

CREATE TABLE lease (
    number   INTEGER PRIMARY KEY,
    holder   BLOB,
    name     TEXT NOT NULL,
    address  TEXT NOT NULL,
    renewals INTEGER NOT NULL
) STRICT;
