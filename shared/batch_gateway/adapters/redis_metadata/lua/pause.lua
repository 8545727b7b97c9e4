-- Set or lift the pause of a batch that is not ending.
-- KEYS     the root
-- ARGS     tenant, batch, paused ('1' or '0')
-- Returns  the batch's row; nil when it has an ending, is terminal or is another tenant's

local batch = load_row('batch', args.batch)
if not batch or batch.tenant ~= args.tenant or not allows(batch, 'edit') then return false end

update(batch, {paused = args.paused})
reindex(batch)
return row_of(batch)
