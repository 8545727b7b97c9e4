-- Drop an upload and its parts.
-- KEYS     the root
-- ARGS     upload
-- Returns  nothing

redis.call('DEL', key('upload', args.upload))
redis.call('UNLINK', key('upload-parts', args.upload))
redis.call('ZREM', key('uploads-by-expiry'), args.upload)
return false
