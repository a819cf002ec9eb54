-- The signature that came with a version, as minisign writes it, so that it can be judged again. None for a version that
-- came without one, or before this migration.

ALTER TABLE versions ADD COLUMN signature TEXT;
