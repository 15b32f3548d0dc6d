--- How finished jobs are kept: a list by count and age, and single jobs by an age of their own.
--- @key completed zset: id -> finished ms
--- @key failed    zset: id -> finished ms
--- @key cancelled zset: id -> finished ms
--- @key expiring  zset: id -> when its own age ends
--- @key logged    hash: id -> lines that were logged
--- @key meta      hash: large_at, born, linger_since, linger_bytes
--- @family job
--- @family outcome
--- @family log
--- @use clock events
-- A job with an age of its own is listed at OWN_AGE + finished: behind the others, where a count never reaches it.
local OWN_AGE, COUNTED = 4398046511104, '(4398046511104'
local TRIM = 1000
-- What is too large for an event stays so long, in ms, and so many bytes in that time, for who waits for it.
local LINGER, LINGER_BYTES = 60000, 67108864

local function unlink_logs(ids)
  if #ids == 0 or redis.call('EXISTS', logged) == 0 then return end
  local gone = {}
  for _, id in ipairs(ids) do gone[#gone + 1] = log .. id end
  redis.call('HDEL', logged, unpack(ids))
  redis.call('UNLINK', unpack(gone))
end

local function unlink(ids)
  unlink_logs(ids)
  local gone = {}
  for _, id in ipairs(ids) do
    gone[#gone + 1] = job .. id
    gone[#gone + 1] = outcome .. id
  end
  if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
end

local function may_linger(size)
  local facts = redis.call('HMGET', meta, 'linger_since', 'linger_bytes')
  local since, used = tonumber(facts[1] or 0), tonumber(facts[2] or 0)
  if now - since > LINGER then since, used = now, 0 end
  if used + size > LINGER_BYTES then return false end
  redis.call('HSET', meta, 'linger_since', since, 'linger_bytes', used + size)
  return true
end

-- Whether some large outcome may be younger than LINGER; the second: also one that a removed queue of this name left.
local function any_large()
  local facts = redis.call('HMGET', meta, 'large_at', 'born')
  local large = facts[1] and now - facts[1] <= LINGER
  return large, large or (facts[2] and now - facts[2] <= LINGER)
end

-- Unlink what is kept of jobs; a young and large outcome lingers.
local function let_go(ids)
  if #ids == 0 or not any_large() then return unlink(ids) end
  local gone = {}
  for _, id in ipairs(ids) do
    local size = 0
    for _, kind in ipairs({'result', 'error', 'reason'}) do size = size + redis.call('HSTRLEN', outcome .. id, kind) end
    local left = size > SMALL and redis.call('HGET', outcome .. id, 'finished') + LINGER - now or 0
    if left > 0 and may_linger(size) then
      redis.call('HDEL', outcome .. id, 'progress', 'state')
      redis.call('PEXPIRE', outcome .. id, left)
      redis.call('UNLINK', job .. id)
      unlink_logs({id})
    else
      gone[#gone + 1] = id
    end
  end
  unlink(gone)
end

-- Trim one list to `count` and `age`, -1 for no limit; at most TRIM each.
local function trim(list, count, age)
  local excess = count >= 0 and redis.call('ZCOUNT', list, '-inf', COUNTED) - count or 0
  if excess > 0 then
    local gone = redis.call('ZRANGE', list, 0, math.min(excess, TRIM) - 1)
    redis.call('ZREM', list, unpack(gone))
    let_go(gone)
  end
  if age >= 0 then
    local gone = redis.call('ZRANGEBYSCORE', list, '-inf', now - age, 'LIMIT', 0, TRIM)
    if #gone > 0 then redis.call('ZREM', list, unpack(gone)) end
    let_go(gone)
  end
end

local function unlist(ids)
  for _, list in ipairs({expiring, completed, failed, cancelled}) do redis.call('ZREM', list, unpack(ids)) end
end

-- Jobs whose own age is over.
local function trim_expired()
  local gone = redis.call('ZRANGEBYSCORE', expiring, '-inf', now, 'LIMIT', 0, TRIM)
  if #gone == 0 then return end
  unlist(gone)
  let_go(gone)
end
