-- The bodies of entries and letters that are too large for their rows, by the entry's own name, as in SQLite. `body` is
-- empty there, and `parts` says how many there are, from 1.

CREATE TABLE parts (
    entry uuid NOT NULL,
    part  bigint NOT NULL,
    bytes bytea NOT NULL,
    UNIQUE (entry, part)
);

ALTER TABLE entries ADD COLUMN parts bigint NOT NULL DEFAULT 0;
ALTER TABLE letters ADD COLUMN parts bigint NOT NULL DEFAULT 0;

CREATE FUNCTION delete_parts_of_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM parts
    WHERE entry = OLD.entry AND NOT EXISTS (SELECT 1 FROM letters WHERE letter = OLD.entry);
    RETURN NULL;
END
$$;

CREATE FUNCTION delete_parts_of_letter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM parts
    WHERE entry = OLD.letter AND NOT EXISTS (SELECT 1 FROM entries WHERE entry = OLD.letter);
    RETURN NULL;
END
$$;

CREATE TRIGGER parts_of_entries AFTER DELETE ON entries FOR EACH ROW WHEN (OLD.parts > 0)
EXECUTE FUNCTION delete_parts_of_entry();

CREATE TRIGGER parts_of_letters AFTER DELETE ON letters FOR EACH ROW WHEN (OLD.parts > 0)
EXECUTE FUNCTION delete_parts_of_letter();
