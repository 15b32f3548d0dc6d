--- Cancel one job: at once while it waits; while it runs its worker is told, and it ends as cancelled unless it
--- completes or fails first.
--- @key parked   hash: id -> priority or order of a delayed job
--- @key cancels  hash: id -> reason, of active jobs
--- @key tries    hash: id -> failures, crashes, recoveries
--- @key meta     hash: keep, totals
--- @family job
--- @family outcome
--- @arg job_id   text
--- @arg reason   text
--- @use record place room order tries forget retention
--- @reply word   cancelled, requested, finished, missing; stale
local kept = recall()
if kept then return {word = kept} end
local state, score = place_of(job_id)
pass_memory_check()
if not state or redis.call('EXISTS', job .. job_id) == 0 then return {word = remember('missing')} end
if FINISHED[state] then return {word = remember('finished')} end
if state == 'active' then
  redis.call('HSETNX', cancels, job_id, reason)
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
forget({job_id})
redis.call('UNLINK', outcome .. job_id)
redis.call('HSET', outcome .. job_id, 'reason', reason, 'attempt', whole(failed_runs), 'priority', whole(priority),
           'finished', whole(now))
redis.call('HINCRBY', meta, 'cancelled', 1)
list_finished(cancelled, job_id, '-')
trim(cancelled, tonumber(count), tonumber(age))
return {word = remember('cancelled')}
