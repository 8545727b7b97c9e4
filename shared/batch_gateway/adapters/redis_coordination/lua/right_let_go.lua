-- Give a right back, unless another has it by now.
-- KEYS  1 the right
-- ARGV  1 holder
-- Returns how many keys were deleted.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
