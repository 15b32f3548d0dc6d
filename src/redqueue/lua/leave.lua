--- A worker leaves: no late copy of its calls may be carried out, and what it still holds goes back to its place.
--- @key session  hash: <lane> -> number words|ids
--- @key sessions zset: session -> last seen ms
--- @key active   zset: id -> lease deadline
--- @key leases   hash: id -> lease
--- @key waiting  zset: id by order
--- @arg session_id text
--- @list lanes   text
--- @list ids     what it still holds, at most 1,000
--- @list numbers of their claims
--- @use clock lease wake
--- @reply released how many
local found = #ids > 0 and redis.call('HMGET', leases, unpack(ids)) or {}
local line, mine = {}, {}
for i, id in ipairs(ids) do
  if mark_if_held(id, found[i], session_id .. ':' .. numbers[i] .. ' ') == '.' then
    mine[#mine + 1] = id
    line[#line + 1] = lease_parts(found[i])
    line[#line + 1] = id
  end
end
redis.call('ZREM', sessions, session_id)
if #mine > 0 then
  redis.call('ZREM', active, unpack(mine))
  redis.call('HDEL', leases, unpack(mine))
  redis.call('ZADD', waiting, unpack(line))
end
-- 2^53: no number is higher.
for _, lane in ipairs(lanes) do redis.call('HSET', session, lane, '9007199254740992 |') end
redis.call('HDEL', session, 'u')
redis.call('HSET', session, 'left', '1')
redis.call('EXPIRE', session, 600)
wake_idle()
return {released = #mine}
