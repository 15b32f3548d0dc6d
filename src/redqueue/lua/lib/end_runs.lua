--- End runs: list what is kept of them with its outcome, forget the rest.
--- @key tries    hash: id -> failures, crashes, recoveries
--- @key meta     hash: totals
--- @arg worker    text: how people call the session
--- @arg completed_count int, -1 for no limit
--- @arg completed_age   int, ms, -1 for no limit
--- @arg failed_count    int, of failed and of cancelled
--- @arg failed_age      int
--- @use lease order forget retention
local function write_outcome(run, kind, text)
  local order, claimed = lease_parts(run.lease)
  redis.call('HSET', outcome .. run.id, kind, text, 'attempt', run.attempt, 'priority', priority_of(order),
             'started', claimed, 'finished', now, 'worker', worker)
end

-- End runs of one kind: what retention would drop in this very call is never written.
local function finish(runs, list, total, kind, count)
  if #runs == 0 then return end
  redis.call('HINCRBY', meta, total, #runs)
  local kept, dropped, listed = 0, {}, {}
  for i = #runs, 1, -1 do
    local run = runs[i]
    local own_rule = run.keep ~= '-'
    if run.keep == '0' or (not own_rule and count >= 0 and kept >= count) then
      dropped[#dropped + 1] = job .. run.id
    else
      if not own_rule then kept = kept + 1 end
      listed[#listed + 1] = run
    end
  end
  if #dropped > 0 then redis.call('UNLINK', unpack(dropped)) end
  for i = #listed, 1, -1 do
    local run = listed[i]
    write_outcome(run, kind, kind == 'reason' and run.reason or run.outcome)
    list_finished(list, run.id, run.keep)
  end
end

local function end_runs(done, broken, stopped)
  local ended, gone = {}, {}
  for _, group in ipairs({done, broken, stopped}) do
    for _, run in ipairs(group) do
      ended[#ended + 1] = run.id
      gone[#gone + 1] = outcome .. run.id
    end
  end
  if #ended == 0 then return end
  -- An outcome from before belongs to a failed attempt, which has left its mark in tries.
  if redis.call('EXISTS', tries) == 1 then redis.call('UNLINK', unpack(gone)) end
  forget(ended)
  finish(done, completed, 'completed', 'result', completed_count)
  finish(broken, failed, 'failed', 'error', failed_count)
  finish(stopped, cancelled, 'cancelled', 'reason', failed_count)
  if #done > 0 then trim(completed, completed_count, completed_age) end
  if #broken > 0 then trim(failed, failed_count, failed_age) end
  if #stopped > 0 then trim(cancelled, failed_count, failed_age) end
end
