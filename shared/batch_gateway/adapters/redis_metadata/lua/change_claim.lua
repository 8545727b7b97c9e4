-- Answer or release a claim that its holder still has.
-- KEYS     the root
-- ARGS     claim (id), holder, changes {field: value}, released_at (absent: it is not released),
--          refused (the body is to be forgotten)
-- Returns  1; 0 when the claim is another's by now or is answered

local found = load_row('claim', args.claim)
if not found or found.holder ~= args.holder or found.answer then return 0 end

local changes = args.changes
changes.id = args.claim
if args.released_at then changes.held_until = args.released_at end
store('claim', changes)
if args.refused then redis.call('HDEL', key('claim', args.claim), 'fingerprint') end
return 1
