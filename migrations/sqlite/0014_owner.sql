-- In SQLite one process holds the file, and the epoch alone says who may write: nothing is needed here.

SELECT 1;
