-- The age of the database, which only PostgreSQL's stores keep: proxies that share a database see when it has gone back.

CREATE TABLE age (
    number        INTEGER PRIMARY KEY,
    accepted      INTEGER NOT NULL,
    commits       INTEGER NOT NULL,
    is_behind     INTEGER NOT NULL,
    seen_accepted INTEGER NOT NULL,
    seen_epoch    INTEGER NOT NULL,
    seen_commits  INTEGER NOT NULL
) STRICT;
