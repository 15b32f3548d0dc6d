--- Prolong leases of one session; also the sign of life of a session that holds none.
--- @key session  hash: lease, seen, left
--- @key sessions zset: session -> last seen ms
--- @key active   zset: id -> lease deadline
--- @key leases   hash: id -> lease
--- @key waiting  zset: id by order
--- @key cancels  hash: id -> reason
--- @arg session_id text
--- @list ids     at most 1,000
--- @list numbers of their claims
--- @use touch lease tries room
--- @reply words  a letter each: k (kept), c (kept, and cancelled), l (lost)
--- @reply lease  ms
local found = #ids > 0 and redis.call('HMGET', leases, unpack(ids)) or {}
local flagged = redis.call('EXISTS', cancels) == 1 and #ids > 0 and redis.call('HMGET', cancels, unpack(ids)) or {}
-- A late copy must not bring a session back that has left, nor its jobs.
local left, asked = unpack(redis.call('HMGET', session, 'left', 'lease'))
local words, mine, returning = {}, {}, {}
for i, id in ipairs(ids) do
  local mark = not left and mark_if_held(id, found[i], session_id .. ':' .. numbers[i] .. ' ')
  words[i] = mark and (flagged[i] and 'c' or 'k') or 'l'
  if mark then mine[#mine + 1] = id end
  if mark and mark ~= '.' then returning[#returning + 1] = {id = id, mark = mark, lease = found[i]} end
end
pass_memory_check()
local lease = touch(not left and tonumber(asked or 0))
for _, one in ipairs(returning) do
  redis.call('ZREM', waiting, one.id)
  redis.call('HSET', leases, one.id, string.sub(one.lease, 1, -2) .. '.')
  if one.mark == 'C' then uncrash(one.id) end
end
local deadlines = {}
for _, id in ipairs(mine) do
  deadlines[#deadlines + 1] = now + lease
  deadlines[#deadlines + 1] = id
end
if #deadlines > 0 then redis.call('ZADD', active, unpack(deadlines)) end
if not left then redis.call('ZADD', sessions, now, session_id) end
redis.call('ZREMRANGEBYSCORE', sessions, '-inf', now - 3600000)
redis.call('HSET', session, 'seen', whole(now))
redis.call('EXPIRE', session, 3600)
return {words = table.concat(words), lease = lease}
