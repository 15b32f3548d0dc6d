--- End a job whose run nobody settled: its lease ended, or its holder left. Trimming its list is left to the next scan.
--- @key meta     hash: totals
--- @family outcome
--- @use order forget retention
local function end_unsettled(list, total, id, order, kind, text, attempt)
  forget({id})
  -- What a failed attempt left is not this end's.
  redis.call('UNLINK', outcome .. id)
  redis.call('HSET', outcome .. id, kind, text, 'attempt', attempt, 'priority', priority_of(order), 'finished', now)
  list_finished(list, id, '-')
  redis.call('HINCRBY', meta, total, 1)
end
