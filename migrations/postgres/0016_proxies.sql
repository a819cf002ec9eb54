-- A fleet: the secret by which its proxies know each other, made once; the proxies, each with the names of its
-- instances in order and the time at which it last said that it is there, by the database's clock; and the proxy for which
-- a lease was given back, if it was for one.

CREATE TABLE fleet (
    number integer PRIMARY KEY,
    secret text NOT NULL
);

INSERT INTO fleet (number, secret) VALUES (1, gen_random_uuid()::text || gen_random_uuid()::text);

CREATE TABLE proxies (
    proxy   uuid PRIMARY KEY,
    name    text NOT NULL,
    address text NOT NULL,
    version text NOT NULL,
    instances text NOT NULL,
    seen_at timestamptz NOT NULL
);

ALTER TABLE lease ADD COLUMN heir uuid;
