--- Run a delayed job now: in line at the end of its priority, or at the place that it kept.
--- @key delayed  zset: id by due ms
--- @arg job_id   text
--- @use record room promote wake
--- @reply word   done, no; stale
local kept = recall()
if kept then return {word = kept} end
pass_memory_check()
if not redis.call('ZSCORE', delayed, job_id) then return {word = remember('no')} end
line_up({job_id})
wake_idle()
return {word = remember('done')}
