--- How finished jobs are kept: a list by count and age, and single jobs by an age of their own.
--- @key completed zset: id -> finished ms
--- @key failed    zset: id -> finished ms
--- @key cancelled zset: id -> finished ms
--- @key expiring  zset: id -> when its own age ends
--- @family job
--- @family outcome
--- @use clock
-- A job with an age of its own is listed at OWN_AGE + finished: behind the others, where a count never reaches it.
local OWN_AGE = 4398046511104
local COUNTED = '(4398046511104'
local TRIM = 1000

local function unlink(ids)
  local gone = {}
  for _, id in ipairs(ids) do
    gone[#gone + 1] = job .. id
    gone[#gone + 1] = outcome .. id
  end
  if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
end

-- Trim one list to `count` and `age`, -1 for no limit; at most TRIM each.
local function trim(list, count, age)
  local excess = count >= 0 and redis.call('ZCOUNT', list, '-inf', COUNTED) - count or 0
  if excess > 0 then
    local gone = redis.call('ZRANGE', list, 0, math.min(excess, TRIM) - 1)
    redis.call('ZREM', list, unpack(gone))
    unlink(gone)
  end
  if age >= 0 then
    local gone = redis.call('ZRANGEBYSCORE', list, '-inf', now - age, 'LIMIT', 0, TRIM)
    if #gone > 0 then redis.call('ZREM', list, unpack(gone)) end
    unlink(gone)
  end
end

-- Jobs whose own age is over.
local function trim_expired()
  local gone = redis.call('ZRANGEBYSCORE', expiring, '-inf', now, 'LIMIT', 0, TRIM)
  if #gone == 0 then return end
  for _, list in ipairs({expiring, completed, failed, cancelled}) do redis.call('ZREM', list, unpack(gone)) end
  unlink(gone)
end

-- List one finished job. keep: '-' by the list's rule, else its own age in ms.
local function list_finished(list, id, keep)
  if keep == '-' then
    redis.call('ZADD', list, now, id)
  else
    redis.call('ZADD', list, OWN_AGE + now, id)
    redis.call('ZADD', expiring, now + keep, id)
  end
end
