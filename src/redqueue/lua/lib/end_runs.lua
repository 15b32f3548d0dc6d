--- End runs: list what is kept of them with its outcome, tell of it, forget the rest.
--- @key tries    hash: id -> failures, crashes, recoveries
--- @key progress hash: id -> what its run told of it
--- @key states   hash: id -> its last checkpoint
--- @key meta     hash: totals
--- @arg worker    text: how people call the session
--- @arg completed_count int, -1 for no limit
--- @arg completed_age   int, ms, -1 for no limit
--- @arg failed_count    int, of failed and of cancelled
--- @arg failed_age      int
--- @use lease order forget retention enlist events
local function write_outcome(run, kind, text)
  local order, claimed = lease_parts(run.lease)
  local fields = {kind, text, 'attempt', run.attempt, 'priority', priority_of(order), 'started', claimed,
                  'finished', whole(now), 'worker', worker}
  for _, name in ipairs({'progress', 'state'}) do
    if run[name] then fields[#fields + 1], fields[#fields + 2] = name, run[name] end
  end
  redis.call('HSET', outcome .. run.id, unpack(fields))
  if #text > SMALL then redis.call('HSET', meta, 'large_at', now) end
end

-- What an event says of one end.
local function detail_of(run, kind, text)
  if kind == 'error' then return run.attempt .. ' ' .. brief(text) end
  return text ~= '' and brief(text) or nil
end

-- End runs of one kind: what retention would drop in this very call is not written, unless it is too large to be told.
local function finish(runs, list, total, kind, count)
  if #runs == 0 then return end
  redis.call('HINCRBY', meta, total, #runs)
  local kept, dropped, logs, listed, ids, details = 0, {}, {}, {}, {}, {}
  for i = #runs, 1, -1 do
    local run = runs[i]
    local own_rule = run.keep ~= '-'
    run.text = kind == 'reason' and run.reason or run.outcome
    if run.keep == '0' or (not own_rule and count >= 0 and kept >= count) then
      dropped[#dropped + 1] = job .. run.id
      logs[#logs + 1] = run.id
      if #run.text > SMALL and may_linger(#run.text) then
        -- Only the text is waited for, and only its bytes were counted.
        run.progress, run.state = nil, nil
        write_outcome(run, kind, run.text)
        redis.call('PEXPIRE', outcome .. run.id, LINGER)
      end
    else
      if not own_rule then kept = kept + 1 end
      listed[#listed + 1] = run
    end
  end
  if #dropped > 0 then
    redis.call('UNLINK', unpack(dropped))
    unlink_logs(logs)
  end
  for i = #listed, 1, -1 do
    local run = listed[i]
    if list == completed then run.state = nil end
    write_outcome(run, kind, run.text)
  end
  list_finished(list, listed)
  for i, run in ipairs(runs) do
    ids[i] = run.id
    details[run.id] = detail_of(run, kind, run.text)
  end
  happened(total, ids, details)
end

-- What a run told of itself is kept with its outcome; a job that is retried by hand goes on from its checkpoint.
local function remember_told(runs, ids)
  if redis.call('EXISTS', progress, states) == 0 then return end
  local shown, saved = redis.call('HMGET', progress, unpack(ids)), redis.call('HMGET', states, unpack(ids))
  for i, run in ipairs(runs) do run.progress, run.state = shown[i] or nil, saved[i] or nil end
end

local function end_runs(done, broken, stopped)
  local ended, runs = {}, {}
  for _, group in ipairs({done, broken, stopped}) do
    for _, run in ipairs(group) do
      runs[#runs + 1] = run
      ended[#ended + 1] = run.id
    end
  end
  if #ended == 0 then return end
  -- An outcome from before is a failed attempt's, which has left its mark in tries, or lingers of a former job.
  local _, lingering = any_large()
  if lingering or redis.call('EXISTS', tries) == 1 then
    local gone = {}
    for _, id in ipairs(ended) do gone[#gone + 1] = outcome .. id end
    redis.call('UNLINK', unpack(gone))
  end
  remember_told(runs, ended)
  forget_notes(ended)  -- their leases are gone
  finish(done, completed, 'completed', 'result', completed_count)
  finish(broken, failed, 'failed', 'error', failed_count)
  finish(stopped, cancelled, 'cancelled', 'reason', failed_count)
  if #done > 0 then trim(completed, completed_count, completed_age) end
  if #broken > 0 then trim(failed, failed_count, failed_age) end
  if #stopped > 0 then trim(cancelled, failed_count, failed_age) end
end
