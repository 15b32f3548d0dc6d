--- Cancel one job: at once while it waits; while it runs its worker is told, and it ends as cancelled unless it
--- completes or fails first.
--- @key parked   hash: id -> priority or order of a delayed job
--- @key cancels  hash: id -> reason, of active jobs
--- @key tries    hash: id -> failures, crashes, recoveries
--- @key leases   hash: id -> lease
--- @key meta     hash: keep, totals
--- @family job
--- @family inbox
--- @family outcome
--- @arg job_id   text
--- @arg reason   text
--- @use record place room order tries end_unsettled drained
--- @reply word   cancelled, requested, finished, missing; stale
local kept = recall()
if kept then return {word = kept} end
local state, score = place_of(job_id)
pass_memory_check()
if not state or redis.call('EXISTS', job .. job_id) == 0 then return {word = remember('missing')} end
if FINISHED[state] then return {word = remember('finished')} end
if state == 'active' then
  redis.call('HSETNX', cancels, job_id, reason)
  local holder = string.match(redis.call('HGET', leases, job_id) or '', '^(%S+):%d+ ')
  if holder then
    -- Told at once; what is lost on the way, its next renewal tells.
    redis.call('RPUSH', inbox .. holder, job_id)
    redis.call('LTRIM', inbox .. holder, -1000, -1)
    redis.call('EXPIRE', inbox .. holder, 3600)
  end
  return {word = remember('requested')}
end

local priority = state == 'waiting' and priority_of(score) or 0
local place = state == 'delayed' and redis.call('HGET', parked, job_id)
if place then
  local kind, value = string.match(place, '^(%a)(.+)$')
  priority = kind == 'o' and priority_of(value) or value
end
local failed_runs = tries_of(redis.call('HGET', tries, job_id))
local rule = redis.call('HGET', meta, 'keep') or '10 -1 50 -1'
local count, age = string.match(rule, '(%S+) (%S+)$')

redis.call('ZREM', PLACES[state], job_id)
end_unsettled(cancelled, 'cancelled', 'reason',
              {{id = job_id, order = order_of(priority, 0), text = reason, attempt = whole(failed_runs)}})
trim(cancelled, tonumber(count), tonumber(age))
if state == 'waiting' then tell_if_drained() end
return {word = remember('cancelled')}
