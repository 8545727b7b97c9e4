-- Add an upload.
-- KEYS     the root
-- ARGS     upload {field: value}
-- Returns  nothing; CONFLICT when the id is taken

local upload = args.upload
local conflict = taken('upload', upload.id)
if conflict then return conflict end

store('upload', upload)
redis.call('ZADD', key('uploads-by-expiry'), upload.expires_at, upload.id)
return false
