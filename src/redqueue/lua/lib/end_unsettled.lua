--- End jobs whose runs nobody settled: their leases ended, their holder left, or none began. Trimming their list is
--- left to the caller or to the next scan.
--- @key meta     hash: totals, large_at
--- @key states   hash: id -> its last checkpoint
--- @family outcome
--- @use order forget retention enlist events
-- Each is {id, order, text, attempt}; kind says what the text is: error or reason. most: so many of the last ones are
-- kept, where retention would drop the others at once; nil or -1 keeps all.
local function end_unsettled(list, total, kind, runs, most)
  if #runs == 0 then return end
  local ids, former, listed, details, any_is_large = {}, {}, {}, {}, false
  local dropped = most and most >= 0 and math.max(#runs - most, 0) or 0
  for i, run in ipairs(runs) do
    ids[i] = run.id
    former[#former + 1] = outcome .. run.id
  end
  local saved = redis.call('EXISTS', states) == 1 and redis.call('HMGET', states, unpack(ids)) or {}
  forget(ids)
  -- What a failed attempt left is not this end's.
  redis.call('UNLINK', unpack(former))
  unlink({unpack(ids, 1, dropped)})
  for i = dropped + 1, #runs do
    local run = runs[i]
    redis.call('HSET', outcome .. run.id, kind, run.text, 'attempt', run.attempt, 'priority', priority_of(run.order),
               'finished', now)
    if saved[i] then redis.call('HSET', outcome .. run.id, 'state', saved[i]) end
    listed[#listed + 1] = run
    any_is_large = any_is_large or #run.text > SMALL
  end
  list_finished(list, listed)
  for _, run in ipairs(runs) do
    details[run.id] = (kind == 'error' and run.attempt .. ' ' or '') .. brief(run.text)
  end
  if any_is_large then redis.call('HSET', meta, 'large_at', now) end
  redis.call('HINCRBY', meta, total, #runs)
  happened(total, ids, details)
end
