-- Count the register.
-- KEYS  1 running, 2 pending, 3 dead
-- Returns {running, pending}.
return { count() }
