-- The name under which an instance may have a copy of a collection that is not known: a job has had one made, or is about to.

ALTER TABLE copies ADD COLUMN unsure TEXT;
