--- Runs that did not end their jobs: those go on later, or at once.
--- @key waiting   zset: id by order
--- @key delayed   zset: id by due ms
--- @key parked    hash: id -> p<priority> or o<order>
--- @key tries     hash: id -> failures, crashes, recoveries
--- @key notes     hash: id -> since, why it waits
--- @key expires   hash: id -> when it is too late to start it, ms
--- @family outcome
--- @use lease tries order end_runs events
-- A retry counts a failure; at once it joins the end of its priority, else it is delayed and keeps that priority.
local function retry_runs(runs)
  if #runs == 0 then return end
  local sequence, ids, details = take_sequence(#runs), {}, {}
  for i, run in ipairs(runs) do
    ids[i] = run.id
    details[run.id] = run.attempt .. ' ' .. whole(run.ms) .. ' ' .. brief(run.outcome)
    local failed_runs, crashes, recoveries = tries_of(redis.call('HGET', tries, run.id))
    set_tries(run.id, failed_runs + 1, crashes, recoveries)
    redis.call('UNLINK', outcome .. run.id)  -- or it would end with a former job of this id
    write_outcome(run, 'error', run.outcome)
    local priority = priority_of(lease_parts(run.lease))
    if run.ms == 0 then
      redis.call('ZADD', waiting, order_of(priority, sequence + i), run.id)
    else
      redis.call('ZADD', delayed, now + run.ms, run.id)
      if priority ~= 0 then redis.call('HSET', parked, run.id, 'p' .. priority) end
    end
  end
  -- It waits for another try now, and for nothing that was noted before.
  if redis.call('EXISTS', notes) == 1 then redis.call('HDEL', notes, unpack(ids)) end
  happened('retrying', ids, details)
end

-- What each worker says in its own words of a job that it can't run, and that another may.
local function is_for_another(why)
  return string.find(why, 'waits for a worker that can run it: ', 1, true) == 1
end

-- Why a job waits; the same reason again holds since it held first.
local function note_why(run)
  local since, why = string.match(redis.call('HGET', notes, run.id) or '', '^(%d+) (.*)$')
  if run.outcome ~= '' and why ~= run.outcome then
    local still = since and is_for_another(why) and is_for_another(run.outcome)
    redis.call('HSET', notes, run.id, (still and since or whole(now)) .. ' ' .. run.outcome)
  elseif since and run.outcome == '' then
    redis.call('HDEL', notes, run.id)
  end
end

-- Neither a snooze nor a release counts, and both keep their place: the one until it is due, the other at once.
local function snooze_runs(runs)
  local ids, details = {}, {}
  for i, run in ipairs(runs) do
    ids[i] = run.id
    details[run.id] = whole(run.ms) .. ' ' .. string.sub(run.outcome, 1, SMALL)
    redis.call('ZADD', delayed, now + run.ms, run.id)
    redis.call('HSET', parked, run.id, 'o' .. lease_parts(run.lease))
    note_why(run)
  end
  happened('delayed', ids, details)
end

-- One that was started says why it was interrupted; another is as if it had not been claimed. Answers the former.
local function release_runs(runs)
  local interrupted = {}
  for _, run in ipairs(runs) do
    redis.call('ZADD', waiting, (lease_parts(run.lease)), run.id)
    if run.outcome ~= '' then
      note_why(run)
      interrupted[#interrupted + 1] = run
    end
  end
  return interrupted
end

-- The run's own process died under it: a crash, and no other job's.
local function crash_runs(runs)
  local ids, details = {}, {}
  for i, run in ipairs(runs) do
    ids[i], details[run.id] = run.id, 'crashed'
    local failed_runs, crashes, recoveries = tries_of(redis.call('HGET', tries, run.id))
    set_tries(run.id, failed_runs, crashes + 1, recoveries + 1)
    redis.call('HDEL', notes, run.id)
    redis.call('ZADD', waiting, (lease_parts(run.lease)), run.id)
  end
  happened('recovered', ids, details)
end

-- What was started can't expire any more.
local function note_started(groups)
  for _, runs in ipairs(groups) do
    if #runs > 0 and redis.call('EXISTS', expires) == 0 then return end
    for _, run in ipairs(runs) do redis.call('HDEL', expires, run.id) end
  end
end
