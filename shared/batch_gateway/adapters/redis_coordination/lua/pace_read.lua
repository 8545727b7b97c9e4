-- What is known of some batches or models.
-- KEYS  the batches' or models' hashes
-- Returns for each {entry, value, entry, value, ...}, without what holders said too long ago; their
-- entries lose the holder's name ("left:MODEL" may come several times) and the expiry.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for i, name in ipairs(KEYS) do
  local entries, known = redis.call('HGETALL', name), {}
  for j = 1, #entries, 2 do
    local entry, value = entries[j], entries[j + 1]
    local model = string.match(entry, '^left:[^:]*:(.*)$')
    if model then
      local expiry, cost = string.match(value, '^(%d+):(.*)$')
      entry, value = 'left:' .. model, tonumber(expiry) > now and cost or nil
    end
    if value then
      known[#known + 1] = entry
      known[#known + 1] = value
    end
  end
  found[i] = known
end
return found
