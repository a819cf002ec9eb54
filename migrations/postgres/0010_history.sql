-- Recent writes and audited events, for people. What is older than the configuration says is deleted in small steps.

CREATE TABLE recent_writes (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    begun_at_ms bigint NOT NULL,
    took_ms     bigint NOT NULL,
    who         text NOT NULL,
    client      text NOT NULL,
    action      text NOT NULL,
    tenant      text NOT NULL,
    database    text NOT NULL,
    collection  text NOT NULL,
    status      bigint NOT NULL,
    key         text NOT NULL
);

CREATE INDEX recent_writes_by_time ON recent_writes (begun_at_ms, status);

CREATE TABLE audit (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms  bigint NOT NULL,
    kind   text NOT NULL,
    who    text NOT NULL,
    client text NOT NULL,
    what   text NOT NULL,
    status bigint NOT NULL,
    detail text NOT NULL
);

CREATE INDEX audit_by_kind ON audit (kind, number);
