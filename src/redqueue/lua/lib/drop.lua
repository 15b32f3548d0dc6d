--- Take jobs out of one place with all that is kept of them.
--- @use place forget retention events
local function drop(state, ids)
  redis.call('ZREM', PLACES[state], unpack(ids))
  forget(ids)
  unlink(ids)
  happened('removed', ids)
end
