--- A worker leaves: no late copy of its calls may be carried out, and what it still holds goes back to its place, or
--- ends when it was cancelled.
--- @key session  hash: <lane> -> number words reports fence|ids
--- @key sessions zset: session -> last seen ms
--- @key active   zset: id -> lease deadline
--- @key leases   hash: id -> lease
--- @key waiting  zset: id by order
--- @key cancels  hash: id -> reason
--- @arg session_id text
--- @list lanes   text
--- @list held_ids     what it still holds, at most 1,000
--- @list held_numbers of their claims
--- @use clock lease tries end_unsettled wake drained
--- @reply released how many
local found = #held_ids > 0 and redis.call('HMGET', leases, unpack(held_ids)) or {}
local flagged = #held_ids > 0 and redis.call('HMGET', cancels, unpack(held_ids)) or {}
local line, mine, stopped = {}, {}, {}
for i, id in ipairs(held_ids) do
  if mark_if_held(id, found[i], session_id .. ':' .. held_numbers[i] .. ' ') == '.' then
    mine[#mine + 1] = id
    if flagged[i] then
      local failed_runs = tries_of(redis.call('HGET', tries, id))
      stopped[#stopped + 1] = {id = id, order = lease_parts(found[i]), text = flagged[i], attempt = failed_runs}
    else
      line[#line + 1] = lease_parts(found[i])
      line[#line + 1] = id
    end
  end
end
redis.call('ZREM', sessions, session_id)
if #mine > 0 then
  redis.call('ZREM', active, unpack(mine))
  redis.call('HDEL', leases, unpack(mine))
end
if #line > 0 then redis.call('ZADD', waiting, unpack(line)) end
end_unsettled(cancelled, 'cancelled', 'reason', stopped)
if #stopped > 0 then tell_if_drained() end
-- 2^53: no number is higher.
for _, lane in ipairs(lanes) do redis.call('HSET', session, lane, '9007199254740992   0|') end
redis.call('HDEL', session, 'u')
redis.call('HSET', session, 'left', '1')
redis.call('EXPIRE', session, 600)
wake_idle()
return {released = #mine}
