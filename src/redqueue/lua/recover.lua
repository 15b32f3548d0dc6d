--- Take jobs back whose lease ended: at most 100 a call, to their own place in line.
--- @key active   zset: id -> lease deadline; 0 when its holder is known dead
--- @key leases   hash: id -> lease
--- @key cancels  hash: id -> reason
--- @key expires  hash: id -> when it is too late to start it, ms
--- @key notes    hash: id -> since, why it waits
--- @key meta     hash: keep, totals
--- @family job
--- @family outcome
--- @family session
--- @arg max_crashes int
--- @arg error    text: JSON of the error of a job that crashed too often
--- @use touch end_unsettled lease tries sentinels room wake drained
--- @reply count  taken back or ended; 100: call again at once
--- @reply hold   ms for which recovery still holds
--- @reply crashed ids that crashed too often
pass_memory_check()
local lease, hold = touch()
-- A clock that went back leaves deadlines that never come.
for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', active, LAST_DEADLINE, now + 2 * lease, 'LIMIT', 0, 100)) do
  redis.call('ZADD', active, 'XX', now + lease, id)
end
trim_expired()
local rule = redis.call('HGET', meta, 'keep') or '10 -1 50 -1'
local completed_count, completed_age, failed_count, failed_age = string.match(rule, '^(%S+) (%S+) (%S+) (%S+)$')
trim(completed, tonumber(completed_count), tonumber(completed_age))
trim(failed, tonumber(failed_count), tonumber(failed_age))
trim(cancelled, tonumber(failed_count), tonumber(failed_age))
local held = math.max(hold - now, 0)
local ids = redis.call('ZRANGEBYSCORE', active, '-inf', held > 0 and 0 or now, 'LIMIT', 0, 100)
if #ids == 0 then
  wake_idle()  -- who took the token may have died with it
  return {count = 0, hold = held, crashed = {}}
end
redis.call('ZREM', active, unpack(ids))
local found = redis.call('HMGET', leases, unpack(ids))
local tried = redis.call('HMGET', tries, unpack(ids))
local flagged = redis.call('HMGET', cancels, unpack(ids))
local unstarted = {}

-- Whether the job may have run: its worker lists what it claimed and did not start.
local function started(lease_text)
  local holder, number, position = string.match(lease_text, '^(.+):(%d+) %S+ %d+ (%d+) ')
  unstarted[holder] = unstarted[holder] or redis.call('HGET', session .. holder, 'u') or ''
  for first, last in string.gmatch(unstarted[holder], '[| ]' .. number .. ':(%d+)%-(%d+)') do
    if tonumber(first) <= tonumber(position) and tonumber(position) <= tonumber(last) then return false end
  end
  return true
end

local crashed, missing, back, ran, details, broken, stopped = {}, {}, {}, {}, {}, {}, {}
for i, id in ipairs(ids) do
  local order = found[i] and lease_parts(found[i]) or order_of(0, 0)
  local failed_runs, crashes, recoveries = tries_of(tried[i])
  if redis.call('EXISTS', job .. id) == 0 then
    missing[#missing + 1] = id
  elseif flagged[i] then
    stopped[#stopped + 1] = {id = id, order = order, text = flagged[i], attempt = failed_runs}
  else
    local crash = not found[i] or recoveries >= 5 or started(found[i])
    if crash and crashes + 1 >= max_crashes then
      broken[#broken + 1] = {id = id, order = order, text = error, attempt = failed_runs}
      crashed[#crashed + 1] = id
    else
      back[#back + 1], details[id] = id, crash and 'crashed' or nil
      if crash then
        redis.call('HDEL', expires, id)
        ran[#ran + 1] = id
      end
      set_tries(id, failed_runs, crashes + (crash and 1 or 0), recoveries + 1)
      -- An active job without a lease is nobody's; it joins the end.
      redis.call('ZADD', waiting, found[i] and order or order_of(0, take_sequence(1) + 1), id)
      if found[i] then redis.call('HSET', leases, id, string.sub(found[i], 1, -2) .. (crash and 'C' or 'R')) end
    end
  end
end
if #missing > 0 then
  forget(missing)
  unlink(missing)
end
end_unsettled(cancelled, 'cancelled', 'reason', stopped)
end_unsettled(failed, 'failed', 'error', broken)
-- Somebody could run these: what they waited for is over.
if #ran > 0 then redis.call('HDEL', notes, unpack(ran)) end
happened('recovered', back, details)
if #back == 0 then tell_if_drained() end
wake_idle()
return {count = #ids, hold = held, crashed = crashed}
