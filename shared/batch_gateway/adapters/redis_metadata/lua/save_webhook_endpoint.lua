-- Replace a webhook endpoint's row.
-- KEYS     the root
-- ARGS     updated_at (the row's, or nothing is done), endpoint {field: value}
-- Returns  1 if it was done

local found = load_row('webhook-endpoint', args.endpoint.id)
if not found or found.updated_at ~= args.updated_at then return 0 end

redis.call('DEL', key('webhook-endpoint', args.endpoint.id))
store('webhook-endpoint', args.endpoint)
return 1
