--- The guard of running jobs against an outage of Redis: while it was away nobody could renew.
--- @key meta     hash: lease, seen, hold
--- @use clock
-- After a gap, recovery holds for half a lease, so that the living renew first. A clock that went back counts as a gap.
-- asked: for how long a lease the living worker that calls has asked; a queue that was removed under it knows no more.
local function touch(asked)
  local facts = redis.call('HMGET', meta, 'lease', 'seen', 'hold')
  local grows = asked and asked > tonumber(facts[1] or 0)
  local lease = grows and asked or tonumber(facts[1] or 30000)
  local seen, hold = tonumber(facts[2] or 0), tonumber(facts[3] or 0)
  if now < seen or now - seen > lease / 2 then hold = now + math.floor(lease / 2) end
  hold = math.min(hold, now + math.floor(lease / 2))
  redis.call('HSET', meta, 'seen', now, 'hold', hold)
  if grows then redis.call('HSET', meta, 'lease', lease) end
  return lease, hold
end
