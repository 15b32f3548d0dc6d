--- Audit what a queue has one of: its counters, its clocks, its token and how much it keeps.
--- @key leases   hash: id -> lease
--- @key meta     hash: seq, lease, seen, hold, keep, format, paused
--- @key sessions zset: session -> last seen ms
--- @key wake     list: at most one token
--- @arg format   text
--- @use findings order retention head
--- @reply idle   when jobs wait, no token is out and nobody runs anything: the head of the next job in line
--- @reply now    ms
local function note(key, finding) lines[#lines + 1] = key .. ': ' .. finding end

local facts = redis.call('HMGET', meta, 'seq', 'lease', 'seen', 'hold', 'keep', 'format', 'paused')
local lease = tonumber(facts[2] or 30000)
if tonumber(facts[1] or 0) >= 0.9 * HALF then note('meta', 'seq is near its end') end
if tonumber(facts[3] or 0) > now then note('meta', 'seen is in the future') end
if tonumber(facts[4] or 0) > now + lease / 2 then note('meta', 'hold is more than half a lease away') end
if facts[6] and facts[6] ~= format then note('meta', 'format is not ' .. format) end

local count, failed_count = string.match(facts[5] or '10 -1 50 -1', '^(%-?%d+) %-?%d+ (%-?%d+) %-?%d+$')
if not count then note('meta', 'keep is not four numbers') end
-- A rule that got stricter is met step by step, a thousand jobs at a time; more than that is a trim that never ran.
local function check_length(state, limit)
  local listed = redis.call('ZCOUNT', PLACES[state], '-inf', '(' .. whole(OWN_AGE))
  if limit and tonumber(limit) >= 0 and listed > limit + 1000 then
    note(state, 'it lists far more jobs than it keeps')
  end
end
check_length('completed', count)
check_length('failed', failed_count)
check_length('cancelled', failed_count)

if redis.call('EXISTS', active) == 1 and redis.call('ZSCORE', active, SENTINEL) ~= 'inf' then
  note('active', 'its sentinel is not at +inf')
end
if redis.call('EXISTS', leases) == 1 and redis.call('HEXISTS', leases, SENTINEL) == 0 then
  note('leases', 'its sentinel is missing')
end
local tokens = redis.call('LLEN', wake)
if tokens > 1 then note('wake', 'it holds more than one token') end

local workers = redis.call('ZCOUNT', sessions, now - 2 * lease, '+inf')
local asleep = tokens == 0 and not facts[7] and workers > 0 and count_active() == 0
local next_one = asleep and redis.call('ZRANGE', waiting, 0, 0)[1]
return {lines = lines, suspects = suspects, cursor = '0', idle = next_one and head_of(next_one), now = now}
