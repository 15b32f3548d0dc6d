--- Take jobs out of one place with all that is kept of them.
--- @use place forget retention drained
local function drop(state, ids)
  redis.call('ZREM', PLACES[state], unpack(ids))
  forget(ids)
  unlink(ids)
  happened('removed', ids)
  if state == 'waiting' or state == 'active' then tell_if_drained() end
end
