-- What is known of instances as a whole, of tenants, and of copies that are not trusted.

CREATE TABLE instances (
    instance   text PRIMARY KEY,
    marker     uuid,
    quarantine text
);

CREATE TABLE tenants (
    tenant text PRIMARY KEY
);

ALTER TABLE copies ADD COLUMN distrust text;
