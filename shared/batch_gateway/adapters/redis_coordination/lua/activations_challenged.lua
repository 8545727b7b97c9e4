-- What became of activations that were challenged.
-- KEYS  1 running, 2 pending, 3 dead
-- ARGV  1 lifetime in ms that they were left, then activations
-- Returns for each: 1 it lives, 0 it is not registered, -1 not known yet
bury()
local found = {}
for i = 2, #ARGV do
  local expiry = redis.call('ZSCORE', KEYS[1], ARGV[i])
  found[#found + 1] = not expiry and 0 or (tonumber(expiry) > now + ARGV[1] and 1 or -1)
end
return found
