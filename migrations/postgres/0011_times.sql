-- When collections were made and when one of their copies got another id, for people. Collections that were made before
-- this migration have no times. Triggers of a later migration fill it.

CREATE TABLE collection_times (
    collection    uuid PRIMARY KEY,
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL
);
