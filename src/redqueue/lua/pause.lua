--- Stop claiming, or go on. What runs is not touched.
--- @key meta     hash: paused
--- @key waiting  zset: id by order
--- @key delayed  zset: id by due ms
--- @arg paused   int: 1 pauses, 0 resumes
--- @use record room wake events
--- @reply word   done; stale
local kept = recall()
if kept then return {word = kept} end
pass_memory_check()
if paused == 1 then
  redis.call('HSET', meta, 'paused', '1')
else
  redis.call('HDEL', meta, 'paused')
  -- Delayed jobs, too: idle workers did not watch when they are due.
  if redis.call('ZCARD', waiting) + redis.call('ZCARD', delayed) > 0 then push_token() end
end
tell({paused == 1 and 'paused' or 'resumed', ''}, 0)
return {word = remember('done')}
