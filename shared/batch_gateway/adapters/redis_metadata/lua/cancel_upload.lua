-- Cancel a pending upload and drop its parts.
-- KEYS     the root
-- ARGS     tenant, upload, now
-- Returns  the upload's row; nil when it is not pending or has expired

local upload = pending_upload(args.tenant, args.upload)
if not upload or tonumber(upload.expires_at) <= tonumber(args.now) then return false end

return end_upload(upload, {status = 'cancelled'})
