-- The lease of a fleet: who holds it, under which name, where it serves, and how often it was renewed. The one row is
-- made here; nobody holds it then.

CREATE TABLE lease (
    number   integer PRIMARY KEY,
    holder   uuid,
    name     text NOT NULL,
    address  text NOT NULL,
    renewals bigint NOT NULL
);

INSERT INTO lease (number, holder, name, address, renewals) VALUES (1, NULL, '', '', 0);
