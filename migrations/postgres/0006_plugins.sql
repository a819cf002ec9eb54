-- Versions of policy plugins: components by their SHA-256, what each version is made of, who decided in each slot and
-- since when (the last swap of a slot says who decides now), and what was last said of a slot by the configuration and by
-- the watched folder. A swap without a version is to `native`, or to `nobody`.

CREATE TABLE components (
    digest bytea PRIMARY KEY,
    bytes  bytea NOT NULL
);

CREATE TABLE versions (
    version    bigint PRIMARY KEY,
    slot      text NOT NULL,
    name      text NOT NULL,
    digest    bytea NOT NULL REFERENCES components,
    config    text NOT NULL,
    origin    text NOT NULL,
    made_at_ms bigint NOT NULL,
    who       text NOT NULL
);

CREATE TABLE swaps (
    seq           bigint PRIMARY KEY,
    slot          text NOT NULL,
    decider       text NOT NULL,
    version       bigint,
    before        bigint,
    swapped_at_ms bigint NOT NULL,
    who           text NOT NULL,
    why           text NOT NULL
);

CREATE TABLE said (
    slot   text NOT NULL,
    origin text NOT NULL,
    words  text NOT NULL,
    PRIMARY KEY (slot, origin)
);
