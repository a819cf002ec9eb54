-- What is known of instances as a whole, of tenants, and of copies that are not trusted.

CREATE TABLE instances (
    instance   TEXT PRIMARY KEY,
    marker     BLOB,
    quarantine TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE tenants (
    tenant TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

ALTER TABLE copies ADD COLUMN distrust TEXT;
