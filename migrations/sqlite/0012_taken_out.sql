-- The version that a swap has taken out of service because it had no answer too often. None for every other swap.

ALTER TABLE swaps ADD COLUMN taken_out INTEGER;
