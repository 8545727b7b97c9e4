-- Add a dead letter, or replace the one with its id.
-- KEYS     the root
-- ARGS     letter {field: value}
-- Returns  nothing

redis.call('DEL', key('dead-letter', args.letter.id))
store('dead-letter', args.letter)
redis.call('ZADD', key('dead-letters'), args.letter.died_at, args.letter.id)
return false
