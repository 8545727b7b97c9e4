-- Complete a pending upload: add the file that it became, and drop its parts.
-- KEYS     the root
-- ARGS     tenant, upload, file {field: value}, receipt
-- Returns  the upload's row; nil when it is not pending; CONFLICT when the file's id is taken

local upload = pending_upload(args.tenant, args.upload)
if not upload then return false end
local conflict = taken('file', args.file.id)
if conflict then return conflict end

add_file(args.file)
return end_upload(upload, {status = 'completed', file_id = args.file.id, receipt = args.receipt})
