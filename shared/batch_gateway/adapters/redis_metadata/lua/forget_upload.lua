-- Drop an upload and its parts.
-- KEYS     the root
-- ARGS     upload
-- Returns  nothing

local upload = load_row('upload', args.upload)
if upload and upload.status == 'pending' then release_parts(upload) end
redis.call('DEL', key('upload', args.upload))
redis.call('UNLINK', key('upload-parts', args.upload))
redis.call('ZREM', key('uploads-by-expiry'), args.upload)
return false
