-- The last token that is known to stand in an instance's marker: an instance that shows a lower one holds data from the past.

ALTER TABLE instances ADD COLUMN token bigint NOT NULL DEFAULT 0;
