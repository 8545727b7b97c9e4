-- Record a part of a pending upload.
-- KEYS     the root
-- ARGS     tenant, upload, part (its id), body, size, now, max_bytes, max_parts (of all its parts),
--          quotas {name: most}
-- Returns  1; 0 when the upload does not take it; OVERQUOTA

local upload = pending_upload(args.tenant, args.upload)
if not upload or tonumber(upload.expires_at) <= tonumber(args.now) then return 0 end
if tonumber(upload.parts) >= tonumber(args.max_parts) then return 0 end
if upload.stored + args.size > tonumber(args.max_bytes) then return 0 end
local refused = over_quota(upload.tenant, {stored_bytes = args.size})
if refused then return refused end

redis.call('HSET', key('upload-parts', upload.id), args.part, args.body)
redis.call('HINCRBY', key('upload', upload.id), 'parts', 1)
redis.call('HINCRBY', key('upload', upload.id), 'stored', args.size)
book(upload.tenant, {stored_bytes = args.size})
return 1
