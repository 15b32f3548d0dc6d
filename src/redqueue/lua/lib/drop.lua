--- Take jobs out of one place with all that is kept of them.
--- @use place forget retention
local function drop(state, ids)
  redis.call('ZREM', PLACES[state], unpack(ids))
  forget(ids)
  unlink(ids)
end
