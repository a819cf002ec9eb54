-- PostgreSQL keeps large bodies aside by itself, and does not write them anew with their rows. Embeddings as text
-- compress little for what it costs.

ALTER TABLE entries ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE letters ALTER COLUMN body SET STORAGE EXTERNAL;
