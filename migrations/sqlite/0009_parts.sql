-- The bodies of entries and letters that are too large for their rows, by the entry's own name: a row is written anew
-- with each verdict, and a body is not. `body` is empty there, and `parts` says how many there are, from 1.

CREATE TABLE parts (
    entry BLOB NOT NULL,
    part  INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE (entry, part)
) STRICT;

ALTER TABLE entries ADD COLUMN parts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE letters ADD COLUMN parts INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER parts_of_entries AFTER DELETE ON entries WHEN old.parts > 0
BEGIN
    DELETE FROM parts
    WHERE entry = old.entry AND NOT EXISTS (SELECT 1 FROM letters WHERE letter = old.entry);
END;

CREATE TRIGGER parts_of_letters AFTER DELETE ON letters WHEN old.parts > 0
BEGIN
    DELETE FROM parts
    WHERE entry = old.letter AND NOT EXISTS (SELECT 1 FROM entries WHERE entry = old.letter);
END;
