--- Stop claiming, or go on. What runs is not touched.
--- @key meta     hash: paused
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
  wake_idle()
end
tell({paused == 1 and 'paused' or 'resumed', ''}, 0)
return {word = remember('done')}
