-- The instance that alone gets a collection's writes, which are not logged, and is alone read.

ALTER TABLE collections ADD COLUMN home text;
