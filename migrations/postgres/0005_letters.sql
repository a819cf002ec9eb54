-- Writes that came to nothing after their client had reason to believe that they would be done; kept until an operator
-- has one done after all, or dismisses it. `letter` is the entry's own name.

CREATE TABLE letters (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    letter       uuid NOT NULL UNIQUE,
    lane         uuid NOT NULL,
    position     bigint NOT NULL,
    logged_at_ms bigint NOT NULL,
    verb         text NOT NULL,
    content_type text,
    reason       text NOT NULL,
    body         bytea NOT NULL
);
