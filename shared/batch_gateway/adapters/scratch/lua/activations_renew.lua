-- Heartbeat of an activation; registers it anew after a wipe.
-- KEYS  1 running, 2 pending
-- ARGV  1 activation, 2 lifetime in ms
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
