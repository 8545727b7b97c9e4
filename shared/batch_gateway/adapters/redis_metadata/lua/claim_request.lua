-- Claim a request: as the first one, or after a claim that has run out without an answer.
-- KEYS     the root
-- ARGS     claim {field: value}, as it is wanted
-- Returns  the claim's row as it is then

local wanted = args.claim
local found = load_row('claim', wanted.id)
if not found then
  store('claim', wanted)
  redis.call('ZADD', key('claims-by-age'), wanted.created_at, wanted.id)
elseif not found.answer and (tonumber(found.held_until) or math.huge) <= tonumber(wanted.created_at) then
  store('claim', {
    id = wanted.id,
    holder = wanted.holder,
    held_until = wanted.held_until,
    fingerprint = found.fingerprint or wanted.fingerprint,
  })
end
return redis.call('HGETALL', key('claim', wanted.id))
