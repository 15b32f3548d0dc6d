--- Remove the first jobs of one place, with all that is kept of them.
--- @arg wanted   text: the state
--- @arg older    int: ms since they finished; 0 takes all, also those with an age of their own
--- @arg n        int, at most 1,000
--- @use record place room drop
--- @reply word   how many; stale
local kept = recall()
if kept then return {word = kept} end
-- Jobs with an age of their own are listed far behind now.
local last = older > 0 and whole(now - older) or LAST_DEADLINE
local ids = redis.call('ZRANGEBYSCORE', PLACES[wanted], '-inf', last, 'LIMIT', 0, n)
pass_memory_check()
if #ids > 0 then drop(wanted, ids) end
return {word = remember(whole(#ids))}
