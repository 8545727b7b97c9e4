-- Set limits, each unless another caller has set it since it was read.
-- KEYS  1 the slots' root
-- ARGV  1 ms after which an idle pool is forgotten; then for each pool: pool, version that was
--       read, limit, what else was learned
-- Returns 1 for each that was set, 0 for each that had changed.
local set = {}
for i = 2, #ARGV, 4 do
  local state = KEYS[1] .. ':limit:' .. ARGV[i]
  if (redis.call('HGET', state, 'version') or '0') == ARGV[i + 1] then
    redis.call('HINCRBY', state, 'version', 1)
    redis.call('HSET', state, 'limit', ARGV[i + 2], 'learned', ARGV[i + 3])
    redis.call('PEXPIRE', state, ARGV[1])
    set[#set + 1] = 1
  else
    set[#set + 1] = 0
  end
end
return set
