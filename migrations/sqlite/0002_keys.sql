-- What is remembered of writes with a key, longer than their entries: the request's fingerprint, where the entry
-- stood, and, once it is settled, how it ended and what was answered. A state of none means that it is open.

CREATE TABLE keys (
    key          TEXT PRIMARY KEY,
    fingerprint  BLOB NOT NULL,
    lane         BLOB NOT NULL,
    position     INTEGER NOT NULL,
    logged_at_ms INTEGER NOT NULL,
    state        TEXT,
    status       INTEGER,
    content_type TEXT,
    body         BLOB
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_open ON keys (lane, position) WHERE state IS NULL;
CREATE INDEX keys_by_age ON keys (logged_at_ms);
