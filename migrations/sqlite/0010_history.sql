-- Recent writes and audited events, for people. What is older than the configuration says is deleted in small steps.

CREATE TABLE recent_writes (
    number      INTEGER PRIMARY KEY,
    begun_at_ms INTEGER NOT NULL,
    took_ms     INTEGER NOT NULL,
    who         TEXT NOT NULL,
    client      TEXT NOT NULL,
    action      TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    database    TEXT NOT NULL,
    collection  TEXT NOT NULL,
    status      INTEGER NOT NULL,
    key         TEXT NOT NULL
) STRICT;

CREATE INDEX recent_writes_by_time ON recent_writes (begun_at_ms, status);

CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at_ms  INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    who    TEXT NOT NULL,
    client TEXT NOT NULL,
    what   TEXT NOT NULL,
    status INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT;

CREATE INDEX audit_by_kind ON audit (kind, number);
