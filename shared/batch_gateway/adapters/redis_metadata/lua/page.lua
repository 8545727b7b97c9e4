-- One page of a tenant's rows of one kind, by creation and then id.
-- KEYS     the root
-- ARGS     kind (see LISTINGS), tenant, purpose (only these files, or this endpoint's deliveries;
--          absent: all),
--          after (id; absent: from the beginning), descending, limit (rows),
--          offset (rows to pass over; absent: none),
--          since, before (instants of creation, from and to; absent: all)
-- Returns  the rows; nil when `after` names none of the tenant's

local ID_AT = 22  -- behind 20 digits and a colon
local LISTINGS = {
  file = 'files-of',
  batch = 'batches-of',
  ['webhook-endpoint'] = 'webhook-endpoints-of',
  ['webhook-delivery'] = 'webhook-deliveries-of',
}

-- Bounds in the notation of ZRANGEBYLEX; behind its first character they compare as the rows do.
local lower = args.since and '[' .. padded(args.since) or '-'
local upper = args.before and '(' .. padded(args.before) or '+'
if args.after then
  local last_seen = load_row(args.kind, args.after)
  if not last_seen or last_seen.tenant ~= args.tenant then return false end
  local place = listed(last_seen)
  if args.descending then
    if upper == '+' or place < upper:sub(2) then upper = '(' .. place end
  elseif lower == '-' or place >= lower:sub(2) then
    lower = '(' .. place
  end
end

local listing = tenant_key(LISTINGS[args.kind], args.tenant, args.purpose)
local members
if args.descending then
  members = redis.call('ZREVRANGEBYLEX', listing, upper, lower, 'LIMIT', args.offset or 0, args.limit)
else
  members = redis.call('ZRANGEBYLEX', listing, lower, upper, 'LIMIT', args.offset or 0, args.limit)
end

local rows = {}
for i, member in ipairs(members) do
  rows[i] = redis.call('HGETALL', key(args.kind, member:sub(ID_AT)))
end
return rows
