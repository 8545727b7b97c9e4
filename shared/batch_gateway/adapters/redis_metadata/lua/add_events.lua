-- Write events that no other change makes true.
-- KEYS     the root
-- ARGS     now, events [{id, body}]
-- Returns  nothing

write_events(args.now)
return false
