-- The parts of a pending upload.
-- KEYS     the root
-- ARGS     tenant, upload
-- Returns  their bodies, at most as many as an upload may have (10,000); none when it is not pending

if not pending_upload(args.tenant, args.upload) then return {} end
return redis.call('HVALS', key('upload-parts', args.upload))
