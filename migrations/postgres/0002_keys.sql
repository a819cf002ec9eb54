-- What is remembered of writes with a key, longer than their entries: the request's fingerprint, where the entry
-- stood, and, once it is settled, how it ended and what was answered. A state of none means that it is open.

CREATE TABLE keys (
    key          text PRIMARY KEY,
    fingerprint  bytea NOT NULL,
    lane         uuid NOT NULL,
    position     bigint NOT NULL,
    logged_at_ms bigint NOT NULL,
    state        text,
    status       integer,
    content_type text,
    body         bytea
);

CREATE INDEX keys_open ON keys (lane, position) WHERE state IS NULL;
CREATE INDEX keys_by_age ON keys (logged_at_ms);
