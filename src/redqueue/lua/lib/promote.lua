--- Delayed jobs that are due join the line: at its end, or at the place that they kept.
--- @key delayed  zset: id by due ms
--- @key parked   hash: id -> p<priority> or o<order>
--- @key waiting  zset: id by order
--- @use order
local function line_up(ids)
  local places = redis.call('EXISTS', parked) == 1 and redis.call('HMGET', parked, unpack(ids)) or {}
  local sequence = take_sequence(#ids)
  local line = {}
  for i, id in ipairs(ids) do
    local kind, value = string.match(places[i] or 'p0', '^(%a)(.+)$')
    line[#line + 1] = kind == 'o' and value or order_of(value, sequence + i)
    line[#line + 1] = id
  end
  redis.call('ZREM', delayed, unpack(ids))
  if #places > 0 then redis.call('HDEL', parked, unpack(ids)) end
  redis.call('ZADD', waiting, unpack(line))
end

-- At most 1,000 that are due. Returns the ms until the next one, or -1.
local function promote_due()
  local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if first[2] and tonumber(first[2]) <= now then
    line_up(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 1000))
    first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  end
  return first[2] and math.max(tonumber(first[2]) - now, 0) or -1
end
