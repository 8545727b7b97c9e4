-- Complete a pending upload: add the file that it became, and drop its parts.
-- KEYS     the root
-- ARGS     tenant, upload, file {field: value}, receipt, quotas {name: most}
-- Returns  the upload's row; nil when it is not pending; CONFLICT when the file's id is taken;
--          OVERQUOTA

local upload = pending_upload(args.tenant, args.upload)
if not upload then return false end
local added = {files = '1', stored_bytes = args.file.size - upload.stored}  -- its parts go
local refused = taken('file', args.file.id) or over_quota(args.tenant, added)
if refused then return refused end

add_file(args.file)
return end_upload(upload, {status = 'completed', file_id = args.file.id, receipt = args.receipt})
