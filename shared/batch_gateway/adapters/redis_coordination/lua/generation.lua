-- The sentinel and its age.
-- KEYS  1 the generation
-- Returns {id, age in ms}, or nil when the server's memory was lost.
local found = redis.call('HMGET', KEYS[1], 'id', 'planted_ms')
if not found[1] then return nil end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return { found[1], math.max(0, now - found[2]) }
