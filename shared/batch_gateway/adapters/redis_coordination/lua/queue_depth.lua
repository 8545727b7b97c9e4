-- Count shards by state; one whose reservation ran out is ready.
-- KEYS  1 the queue's root
-- Returns {ready, leased, reserved}.
local over = redis.call('ZCOUNT', key('reserved'), '-inf', now)
return {
  tonumber(redis.call('HGET', key('state'), 'ready') or 0) + over,
  redis.call('ZCARD', key('leased')),
  redis.call('ZCARD', key('reserved')) - over,
}
