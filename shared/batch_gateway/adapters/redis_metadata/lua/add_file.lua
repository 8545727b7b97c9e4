-- Add a file row with its listings.
-- KEYS     the root
-- ARGS     file {field: value}, quotas {name: most}
-- Returns  nothing; CONFLICT when the id is taken; OVERQUOTA

local refused = taken('file', args.file.id) or over_quota(args.file.tenant, of_file(args.file))
if refused then return refused end

add_file(args.file)
return false
