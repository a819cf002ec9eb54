-- Writes that came to nothing after their client had reason to believe that they would be done; kept until an operator
-- has one done after all, or dismisses it. `letter` is the entry's own name.

CREATE TABLE letters (
    number       INTEGER PRIMARY KEY,
    letter       BLOB NOT NULL UNIQUE,
    lane         BLOB NOT NULL,
    position     INTEGER NOT NULL,
    logged_at_ms INTEGER NOT NULL,
    verb         TEXT NOT NULL,
    content_type TEXT,
    reason       TEXT NOT NULL,
    body         BLOB NOT NULL
) STRICT;
