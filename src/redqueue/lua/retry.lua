--- Run a finished job again: back in line at the end of its priority.
--- @key meta     hash: seq, paused
--- @key states   hash: id -> its last checkpoint
--- @key notes    hash: id -> since, why it waits
--- @family job
--- @family outcome
--- @arg job_id   text
--- @arg fresh    int: 1 forgets the failures, 0 counts on
--- @use record place room order tries forget wake events
--- @reply word   done, no; stale
local kept = recall()
if kept then return {word = kept} end
local list = FINISHED[place_of(job_id)]
pass_memory_check()
if not list or redis.call('EXISTS', job .. job_id) == 0 then return {word = remember('no')} end
local facts = redis.call('HMGET', outcome .. job_id, 'priority', 'attempt', 'error', 'state')
local failed_runs = fresh == 0 and tonumber(facts[2] or 0) or 0

redis.call('ZREM', list, job_id)
forget({job_id})
if failed_runs > 0 and facts[3] then
  redis.call('HDEL', outcome .. job_id, 'result', 'reason', 'finished', 'progress', 'state')
else
  redis.call('UNLINK', outcome .. job_id)
end
if facts[4] then redis.call('HSET', states, job_id, facts[4]) end
set_tries(job_id, failed_runs, 0, 0)
-- So that a worker knows: it isn't late, whenever it was added.
redis.call('HSET', notes, job_id, whole(now) .. ' retried by hand')
redis.call('ZADD', waiting, order_of(facts[1] or 0, take_sequence(1) + 1), job_id)
happened('retrying', {job_id})
wake_idle()
return {word = remember('done')}
