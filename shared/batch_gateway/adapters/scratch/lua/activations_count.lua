-- Count the register.
-- KEYS  1 running, 2 pending
-- Returns {running, pending}.
return { count() }
