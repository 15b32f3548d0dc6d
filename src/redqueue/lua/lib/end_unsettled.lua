--- End a job whose run nobody settled: its lease ended, or its holder left. Trimming its list is left to the next scan.
--- @key meta     hash: totals, large_at
--- @key states   hash: id -> its last checkpoint
--- @family outcome
--- @use order forget retention events
local function end_unsettled(list, total, id, order, kind, text, attempt)
  local state = redis.call('HGET', states, id)
  forget({id})
  -- What a failed attempt left is not this end's.
  redis.call('UNLINK', outcome .. id)
  redis.call('HSET', outcome .. id, kind, text, 'attempt', attempt, 'priority', priority_of(order), 'finished', now)
  if state then redis.call('HSET', outcome .. id, 'state', state) end
  if #text > SMALL then redis.call('HSET', meta, 'large_at', now) end
  list_finished(list, id, '-')
  redis.call('HINCRBY', meta, total, 1)
  local small = #text > SMALL and '>' or text
  happened(total, {id}, {[id] = kind == 'error' and attempt .. ' ' .. small or small})
end
