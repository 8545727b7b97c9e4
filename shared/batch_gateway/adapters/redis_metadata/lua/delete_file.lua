-- Remove a file row and its places in the listings.
-- KEYS     the root
-- ARGS     tenant, file
-- Returns  the row as it was; nil when there is none, or it is another tenant's

local row = redis.call('HGETALL', key('file', args.file))
local file = load_row('file', args.file)
if not file or file.tenant ~= args.tenant then return false end

redis.call('DEL', key('file', file.id))
for _, listing in ipairs({file_listings(file)}) do
  redis.call('ZREM', listing, listed(file))
end
redis.call('ZREM', key('files-by-expiry'), file.id)
book(file.tenant, of_file(file), -1)
return row
