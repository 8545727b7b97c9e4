-- Add a file row with its listings.
-- KEYS     the root
-- ARGS     file {field: value}
-- Returns  1, or 0 when the id is taken

if redis.call('EXISTS', key('file', args.file.id)) == 1 then return 0 end
add_file(args.file)
return 1
