-- The age of the database. Every group of writes counts one in the transaction that it is, so that a proxy which has seen
-- a higher number knows that the database has gone back: a standby was promoted that lacked the last commits, or an old
-- copy was put in its place. The first proxy that finds this says so here, with what it has seen (seen_*), and nothing is
-- written any more until an operator accepts the database as it is, which counts one in `accepted`.

CREATE TABLE age (
    number        integer PRIMARY KEY,
    accepted      bigint NOT NULL,
    commits       bigint NOT NULL,
    is_behind     boolean NOT NULL,
    seen_accepted bigint NOT NULL,
    seen_epoch    bigint NOT NULL,
    seen_commits  bigint NOT NULL
) WITH (fillfactor = 50);

INSERT INTO age (number, accepted, commits, is_behind, seen_accepted, seen_epoch, seen_commits)
VALUES (1, 0, 0, false, 0, 0, 0);

-- The first statement of a group of writes. Returns the number of groups so far, this one among them.
CREATE FUNCTION achromat_begin(a_epoch bigint, a_fence bigint, a_commits bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    counted bigint;
BEGIN
    PERFORM achromat_fence(a_epoch, a_fence);
    UPDATE age SET commits = commits + 1 WHERE commits >= a_commits AND NOT is_behind RETURNING commits INTO counted;
    IF counted IS NULL THEN
        SELECT commits INTO STRICT counted FROM age;
        RAISE EXCEPTION USING ERRCODE = 'AC003', MESSAGE = 'the database has gone back', DETAIL = counted::text;
    END IF;
    RETURN counted;
END
$$;

-- An operator accepts the database as it is. Whoever led before leads no more. One copy of each collection is trusted, the
-- primary's if there is one, and the others are compared with it before they are read again. Returns the number of
-- collections that are compared; none when the database is not behind.
CREATE FUNCTION achromat_accept(a_primary text, a_distrust text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    known    age%ROWTYPE;
    compared bigint;
BEGIN
    -- In the order in which a group of writes holds them.
    PERFORM 1 FROM lease FOR UPDATE;
    PERFORM 1 FROM meta WHERE key IN ('epoch', 'fence') FOR UPDATE;
    SELECT * INTO STRICT known FROM age FOR UPDATE;
    IF NOT known.is_behind THEN
        RETURN NULL;
    END IF;
    UPDATE lease SET holder = NULL, heir = NULL, renewals = renewals + 1;
    UPDATE meta SET value = greatest(value, known.seen_epoch) + 1 WHERE key = 'epoch';
    UPDATE meta SET value = value + 1 WHERE key = 'fence';
    WITH sound AS (
        SELECT copies.collection, instance,
               row_number() OVER (PARTITION BY copies.collection ORDER BY instance <> a_primary, instance) AS rank
        FROM copies JOIN collections USING (collection)
        WHERE instance_id IS NOT NULL AND quarantine IS NULL AND distrust IS NULL AND home IS NULL AND gone_at IS NULL
    ), doubted AS (
        UPDATE copies SET distrust = a_distrust FROM sound
        WHERE copies.collection = sound.collection AND copies.instance = sound.instance AND rank > 1
        RETURNING copies.collection
    )
    SELECT count(DISTINCT collection) INTO compared FROM doubted;
    UPDATE age SET accepted = greatest(accepted, seen_accepted) + 1, is_behind = false,
                   seen_accepted = 0, seen_epoch = 0, seen_commits = 0;
    RETURN compared;
END
$$;
