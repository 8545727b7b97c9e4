-- Tallies that have not run out.
-- KEYS  the batches' hashes
-- Returns for each batch {index, tally, index, tally, ...}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for i, batch in ipairs(KEYS) do
  local tallies = {}
  local entries = redis.call('HGETALL', batch)
  for j = 1, #entries, 2 do
    local expiry, tally = string.match(entries[j + 1], '^(%d+):(.*)$')
    if tonumber(expiry) > now then
      tallies[#tallies + 1] = entries[j]
      tallies[#tallies + 1] = tally
    end
  end
  found[i] = tallies
end
return found
