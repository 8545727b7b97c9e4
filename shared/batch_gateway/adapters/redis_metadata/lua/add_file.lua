-- Add a file row with its listings.
-- KEYS     the root
-- ARGS     file {field: value}
-- Returns  nothing; CONFLICT when the id is taken

local conflict = taken('file', args.file.id)
if conflict then return conflict end

add_file(args.file)
return false
