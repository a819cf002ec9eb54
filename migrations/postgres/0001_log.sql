-- The log, the cursors and the catalog. A lane is named by its collection's id; the schema lane by the nil UUID.

CREATE TABLE meta (
    key   text PRIMARY KEY,
    value bigint NOT NULL
);

INSERT INTO meta (key, value) VALUES ('epoch', 0);

-- `head` is the last position given out, `trimmed` the last one deleted.
CREATE TABLE lanes (
    lane    uuid PRIMARY KEY,
    head    bigint NOT NULL,
    trimmed bigint NOT NULL DEFAULT 0
);

CREATE TABLE entries (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane         uuid NOT NULL,
    position     bigint NOT NULL,
    entry        uuid NOT NULL UNIQUE,
    epoch        bigint NOT NULL,
    logged_at_ms bigint NOT NULL,
    verb         text NOT NULL,
    content_type text,
    verdict      text,
    reason       text,
    body         bytea NOT NULL,
    UNIQUE (lane, position)
);

CREATE TABLE cursors (
    lane     uuid NOT NULL,
    instance text NOT NULL,
    position bigint NOT NULL,
    epoch    bigint NOT NULL,
    PRIMARY KEY (lane, instance)
);

CREATE TABLE collections (
    collection uuid PRIMARY KEY,
    tenant     text NOT NULL,
    database   text NOT NULL,
    name       text NOT NULL,
    made_at    bigint NOT NULL,
    gone_at    bigint
);

CREATE TABLE copies (
    collection  uuid NOT NULL,
    instance    text NOT NULL,
    instance_id uuid,
    quarantine  text,
    PRIMARY KEY (collection, instance)
);

CREATE TABLE databases (
    tenant   text NOT NULL,
    name     text NOT NULL,
    database uuid NOT NULL,
    PRIMARY KEY (tenant, name)
);
