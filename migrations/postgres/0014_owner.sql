-- Who may write. Every group of writes names the epoch and the fence under which it was sent: the epoch rises with each
-- owner; the fence rises when the owner asks what became of a group whose answer was lost, so that a group which is still
-- on its way then changes nothing. A group holds this row shared, so that neither rises in the middle of it.

INSERT INTO meta (key, value) VALUES ('fence', 0);

CREATE FUNCTION achromat_fence(a_epoch bigint, a_fence bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    theirs bigint;
    fence  bigint;
BEGIN
    SELECT value INTO STRICT theirs FROM meta WHERE key = 'epoch' FOR SHARE;
    IF theirs <> a_epoch THEN
        RAISE EXCEPTION USING ERRCODE = 'AC001', MESSAGE = 'another owner has taken over', DETAIL = theirs::text;
    END IF;
    SELECT value INTO STRICT fence FROM meta WHERE key = 'fence' FOR SHARE;
    IF fence <> a_fence THEN
        RAISE EXCEPTION USING ERRCODE = 'AC002', MESSAGE = 'the writes were given up before they arrived';
    END IF;
END
$$;

-- An entry's position, or none when its key is known or the letter that it takes up is gone.
CREATE FUNCTION achromat_append(
    a_lane uuid, a_entry uuid, a_epoch bigint, a_logged_at_ms bigint, a_verb text, a_content_type text, a_body bytea,
    a_key text, a_fingerprint bytea, a_letter uuid
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    given bigint;
BEGIN
    IF a_letter IS NOT NULL THEN
        DELETE FROM letters WHERE letter = a_letter;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    SELECT head + 1 INTO given FROM lanes WHERE lane = a_lane;
    given := coalesce(given, 1);
    IF a_key IS NOT NULL THEN
        INSERT INTO keys AS known (key, fingerprint, lane, position, logged_at_ms)
        VALUES (a_key, a_fingerprint, a_lane, given, a_logged_at_ms)
        ON CONFLICT (key) DO UPDATE
        SET lane = excluded.lane, position = excluded.position, logged_at_ms = excluded.logged_at_ms,
            state = NULL, status = NULL, content_type = NULL, body = NULL
        WHERE known.state = 'withdrawn' AND known.fingerprint = excluded.fingerprint;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO lanes (lane, head) VALUES (a_lane, given) ON CONFLICT (lane) DO UPDATE SET head = excluded.head;
    INSERT INTO entries (lane, position, entry, epoch, logged_at_ms, verb, content_type, body)
    VALUES (a_lane, given, a_entry, a_epoch, a_logged_at_ms, a_verb, a_content_type, a_body);
    RETURN given;
END
$$;

-- The first outcome of an entry is remembered under its key.
CREATE FUNCTION achromat_settle(
    a_lane uuid, a_position bigint, a_key text, a_state text, a_status integer, a_content_type text, a_body bytea
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE keys SET state = a_state, status = a_status, content_type = a_content_type, body = a_body
    WHERE key = a_key AND lane = a_lane AND position = a_position AND state IS NULL;
END
$$;

CREATE FUNCTION achromat_keep_letter(a_lane uuid, a_position bigint, a_reason text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO letters (letter, lane, position, logged_at_ms, verb, content_type, reason, body)
    SELECT entry, lane, position, logged_at_ms, verb, content_type, a_reason, body
    FROM entries WHERE lane = a_lane AND position = a_position
    ON CONFLICT (letter) DO NOTHING;
END
$$;

CREATE FUNCTION achromat_judge(a_lane uuid, a_position bigint, a_verdict text, a_reason text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE entries SET verdict = a_verdict, reason = a_reason WHERE lane = a_lane AND position = a_position;
END
$$;

CREATE FUNCTION achromat_advance(a_lane uuid, a_instance text, a_position bigint, a_epoch bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO cursors AS known (lane, instance, position, epoch) VALUES (a_lane, a_instance, a_position, a_epoch)
    ON CONFLICT (lane, instance) DO UPDATE SET position = excluded.position, epoch = excluded.epoch
    WHERE excluded.position > known.position;
END
$$;

-- Rows that are written again and again leave room for their next versions.
ALTER TABLE lanes SET (fillfactor = 50);
ALTER TABLE cursors SET (fillfactor = 50);
ALTER TABLE entries SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- When collections were made and when one of their copies got another id, for people.
CREATE FUNCTION achromat_note_collection() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    now_ms bigint := floor(extract(epoch FROM clock_timestamp()) * 1000);
BEGIN
    IF TG_TABLE_NAME = 'copies' THEN
        UPDATE collection_times SET updated_at_ms = now_ms WHERE collection = NEW.collection;
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM collection_times WHERE collection = OLD.collection;
    ELSE
        INSERT INTO collection_times (collection, created_at_ms, updated_at_ms) VALUES (NEW.collection, now_ms, now_ms)
        ON CONFLICT (collection) DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER collections_noted AFTER INSERT OR DELETE ON collections FOR EACH ROW
EXECUTE FUNCTION achromat_note_collection();
CREATE TRIGGER copies_made AFTER INSERT ON copies FOR EACH ROW EXECUTE FUNCTION achromat_note_collection();
CREATE TRIGGER copies_changed AFTER UPDATE OF instance_id ON copies FOR EACH ROW
WHEN (NEW.instance_id IS DISTINCT FROM OLD.instance_id) EXECUTE FUNCTION achromat_note_collection();
