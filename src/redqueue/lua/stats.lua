--- One queue in numbers.
--- @key meta     hash: lease, paused, totals
--- @key sessions zset: session -> last seen ms
--- @use place head
--- @reply waiting
--- @reply active
--- @reply delayed
--- @reply kept_completed
--- @reply kept_failed
--- @reply totals  completed, failed, cancelled
--- @reply paused
--- @reply workers seen within two leases
--- @reply first   the envelope's head of the next job in line
--- @reply now     ms
local facts = redis.call('HMGET', meta, 'lease', 'paused')
local next_one = redis.call('ZRANGE', waiting, 0, 0)[1]
return {
  waiting = redis.call('ZCARD', waiting),
  active = count_active(),
  delayed = redis.call('ZCARD', delayed),
  kept_completed = redis.call('ZCARD', completed),
  kept_failed = redis.call('ZCARD', failed),
  totals = redis.call('HMGET', meta, 'completed', 'failed', 'cancelled'),
  paused = facts[2] and 1 or 0,
  workers = redis.call('ZCOUNT', sessions, now - 2 * tonumber(facts[1] or 30000), '+inf'),
  first = next_one and head_of(next_one),
  now = now,
}
