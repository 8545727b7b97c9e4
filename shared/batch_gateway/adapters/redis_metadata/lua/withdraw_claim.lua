-- Delete a claim that its holder still has.
-- KEYS     the root
-- ARGS     claim (id), holder
-- Returns  1; 0 when the claim is another's by now or is answered

local found = load_row('claim', args.claim)
if not found or found.holder ~= args.holder or found.answer then return 0 end

redis.call('DEL', key('claim', args.claim))
redis.call('ZREM', key('claims-by-age'), args.claim)
return 1
