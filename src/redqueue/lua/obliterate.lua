--- Remove a queue, at most 1,000 jobs a call. It is paused from the first call on, so that no worker claims meanwhile.
--- @key meta     hash: paused
--- @key sessions zset: session -> last seen ms
--- @key wake     list
--- @arg force    int: 1 takes active jobs from under their workers
--- @use record place room drop
--- @reply word   how many; gone when nothing was left, active when jobs run; stale
local kept = recall()
if kept then return {word = kept} end
pass_memory_check()
if force == 0 and count_active() > 0 then return {word = remember('active')} end
redis.call('HSET', meta, 'paused', '1')
local left = 1000
for _, state in ipairs(STATES) do
  local ids = redis.call('ZRANGEBYSCORE', PLACES[state], '-inf', LAST_DEADLINE, 'LIMIT', 0, left)
  if #ids > 0 then drop(state, ids) end
  left = left - #ids
end
if left < 1000 then return {word = remember(whole(1000 - left))} end
-- Sessions and producers keep their own keys until they end: without them a late copy of a call would be carried out.
redis.call('UNLINK', waiting, active, delayed, completed, failed, cancelled, expiring, leases, tries, notes, cancels,
           parked, expires, progress, states, logged, sessions, meta, wake, events)
return {word = remember('gone')}
