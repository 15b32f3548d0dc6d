--- Nothing waits or runs any more: told by whatever took the last job out of line, or ended its run.
--- @key waiting  zset: id by order
--- @key active   zset: id -> lease deadline
--- @use events
local function tell_if_drained()
  -- One active member is the sentinel, which is there whenever a job is.
  if redis.call('ZCARD', waiting) == 0 and redis.call('ZCARD', active) <= 1 then tell({'drained', ''}, 0) end
end
