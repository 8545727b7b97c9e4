-- How many deliveries are pending.
-- KEYS     the root
-- ARGS     none
-- Returns  the number

return redis.call('ZCARD', key('webhook-deliveries-due'))
