-- When collections were made and when one of their copies got another id, for people. Collections that were made before
-- this migration have no times.

CREATE TABLE collection_times (
    collection    BLOB PRIMARY KEY,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER collections_created AFTER INSERT ON collections
BEGIN
    INSERT OR IGNORE INTO collection_times (collection, created_at_ms, updated_at_ms)
    SELECT new.collection, now, now FROM (SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now);
END;

CREATE TRIGGER collections_deleted AFTER DELETE ON collections
BEGIN
    DELETE FROM collection_times WHERE collection = old.collection;
END;

CREATE TRIGGER copies_made AFTER INSERT ON copies
BEGIN
    UPDATE collection_times SET updated_at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)
    WHERE collection = new.collection;
END;

CREATE TRIGGER copies_changed AFTER UPDATE OF instance_id ON copies WHEN new.instance_id IS NOT old.instance_id
BEGIN
    UPDATE collection_times SET updated_at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)
    WHERE collection = new.collection;
END;
