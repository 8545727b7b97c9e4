-- Take the right to assemble a batch, or renew it.
-- KEYS     the root
-- ARGS     batch, holder, now, until
-- Returns  the batch's row; nil when it is not assemblable, or another holder's right still runs

local batch = load_row('batch', args.batch)
if not batch or not allows(batch, 'assemble') then return false end
if batch.assembler and batch.assembler ~= args.holder
  and tonumber(batch.assembler_until) > tonumber(args.now) then
  return false
end

update(batch, {assembler = args.holder, assembler_until = args['until']})
return row_of(batch)
