--- A worker starts: make its session known, and agree on one lease length for the queue.
--- @key session  hash: worker, host, pid, lease that it asked for, seen, left
--- @key sessions zset: session -> last seen ms
--- @key meta     hash: lease, format
--- @family inbox
--- @arg session_id text
--- @arg worker   text
--- @arg host     text
--- @arg pid      text
--- @arg wanted   int: lease in ms
--- @arg format   text
--- @use touch room rights
--- @reply state  ok, or format
--- @reply lease  ms: the longest that a living worker asked for
local stored = redis.call('HGET', meta, 'format')
if stored and stored ~= format then return {state = 'format', lease = 0} end
local current = tonumber(redis.call('HGET', meta, 'lease') or 0)
-- A late copy must not bring a session back that has left, nor its lease.
if redis.call('HEXISTS', session, 'left') == 1 then return {state = 'ok', lease = current} end
local others = redis.call('ZCOUNT', sessions, now - 2 * math.max(current, wanted), '+inf')
-- Leases of different lengths in one queue would break the guard: nobody alive gets a shorter one than it renews by.
local lease = others > 0 and math.max(current, wanted) or wanted
pass_memory_check()
need_rights(inbox .. 'rights')
redis.call('HSET', meta, 'format', format, 'lease', lease)
redis.call('HSET', session, 'worker', worker, 'host', host, 'pid', pid, 'lease', wanted, 'seen', whole(now))
redis.call('EXPIRE', session, 3600)
redis.call('ZADD', sessions, now, session_id)
touch()
return {state = 'ok', lease = lease}
