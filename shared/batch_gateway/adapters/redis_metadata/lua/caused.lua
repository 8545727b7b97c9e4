-- The batch that was made for a cause.
-- KEYS     the root
-- ARGS     cause (key)
-- Returns  its id, or nil

return redis.call('HGET', key('causes'), args.cause)
