-- Whether a delivery's time has come.
-- KEYS     the root
-- ARGS     now
-- Returns  how many are due

return redis.call('ZCOUNT', key('webhook-deliveries-due'), '-inf', args.now)
