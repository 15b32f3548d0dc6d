--- Whatever ends a job, or takes it out of line other than by claim, forgets what was noted of it.
--- @key leases   hash: id -> lease
--- @key tries    hash: id -> failures, crashes, recoveries
--- @key notes    hash: id -> since, why it waits
--- @key cancels  hash: id -> reason
--- @key parked   hash: id -> priority or order of a delayed job
--- @key expires  hash: id -> when it is too late to start it, ms
--- @key progress hash: id -> what its run told of it
--- @key states   hash: id -> its last checkpoint
--- @key expiring zset: id -> when its own age ends
local function forget_notes(ids)
  -- The rare ones: nearly always none exists, and one call says so.
  if redis.call('EXISTS', tries, notes, cancels, parked, expires, progress, states, expiring) == 0 then return end
  redis.call('HDEL', tries, unpack(ids))
  redis.call('HDEL', notes, unpack(ids))
  redis.call('HDEL', cancels, unpack(ids))
  redis.call('HDEL', parked, unpack(ids))
  redis.call('HDEL', expires, unpack(ids))
  redis.call('HDEL', progress, unpack(ids))
  redis.call('HDEL', states, unpack(ids))
  redis.call('ZREM', expiring, unpack(ids))
end

local function forget(ids)
  redis.call('HDEL', leases, unpack(ids))
  forget_notes(ids)
end
