-- Versions of policy plugins: components by their SHA-256, what each version is made of, who decided in each slot and
-- since when (the last swap of a slot says who decides now), and what was last said of a slot by the configuration and by
-- the watched folder. A swap without a version is to `native`, or to `nobody`.

CREATE TABLE components (
    digest BLOB PRIMARY KEY,
    bytes  BLOB NOT NULL
) STRICT;

CREATE TABLE versions (
    version    INTEGER PRIMARY KEY,
    slot      TEXT NOT NULL,
    name      TEXT NOT NULL,
    digest    BLOB NOT NULL REFERENCES components,
    config    TEXT NOT NULL,
    origin    TEXT NOT NULL,
    made_at_ms INTEGER NOT NULL,
    who       TEXT NOT NULL
) STRICT;

CREATE TABLE swaps (
    seq           INTEGER PRIMARY KEY,
    slot          TEXT NOT NULL,
    decider       TEXT NOT NULL,
    version       INTEGER,
    before        INTEGER,
    swapped_at_ms INTEGER NOT NULL,
    who           TEXT NOT NULL,
    why           TEXT NOT NULL
) STRICT;

CREATE TABLE said (
    slot   TEXT NOT NULL,
    origin TEXT NOT NULL,
    words  TEXT NOT NULL,
    PRIMARY KEY (slot, origin)
) STRICT, WITHOUT ROWID;
