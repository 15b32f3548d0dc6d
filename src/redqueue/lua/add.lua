--- Store jobs and make them claimable: each is answered 'c' (created) or 'd' (duplicate).
--- @key record
--- @key waiting   zset: id by order
--- @key delayed   zset: id by due ms
--- @key parked    hash: id -> p<priority>, where it isn't 0
--- @key meta      hash: seq, paused, format
--- @arg number    int
--- @arg format    text of the stored layout
--- @keys jobs     the envelopes' keys
--- @list ids      text
--- @list envelopes text
--- @list places   '<priority>', with ' l' for lifo, ' d<ms>' for a delay, ' a<ms>' for a time
--- @use record order due
--- @reply word    a letter a job, or stale, format
local kept = recall()
if kept then return {word = kept} end
local facts = redis.call('HMGET', meta, 'format', 'paused')
if facts[1] and facts[1] ~= format then return {word = 'format'} end

local known = redis.call('EXISTS', unpack(jobs)) > 0 and redis.call('MGET', unpack(jobs)) or {}
local fresh, pairs_to_set, letters, twice = {}, {}, {}, {}
for i, id in ipairs(ids) do
  if known[i] or twice[id] then
    letters[i] = 'd'
  else
    letters[i] = 'c'
    twice[id] = true
    fresh[#fresh + 1] = i
    pairs_to_set[#pairs_to_set + 1] = jobs[i]
    pairs_to_set[#pairs_to_set + 1] = envelopes[i]
  end
end
if #fresh == 0 then return {word = remember(table.concat(letters))} end

-- First, so that a server out of memory refuses the whole call.
redis.call('MSET', unpack(pairs_to_set))
local sequence = take_sequence(#fresh)
if sequence == 0 then redis.call('HSETNX', meta, 'format', format) end
local line, later, parking = {}, {}, {}
local last, priority, how, ms
for _, i in ipairs(fresh) do
  sequence = sequence + 1
  if places[i] ~= last then
    last = places[i]
    priority, how, ms = string.match(last, '^(%-?%d+) ?(%a?)(%d*)$')
  end
  local due = how == 'd' and now + ms or how == 'a' and tonumber(ms) or 0
  if due > now then
    later[#later + 1] = whole(due)
    later[#later + 1] = ids[i]
    if priority ~= '0' then
      parking[#parking + 1] = ids[i]
      parking[#parking + 1] = 'p' .. priority
    end
  else
    line[#line + 1] = order_of(priority, how == 'l' and -sequence or sequence)
    line[#line + 1] = ids[i]
  end
end
if #line > 0 then
  redis.call('ZADD', waiting, unpack(line))
  if not facts[2] then push_token() end
end
if #later > 0 then
  local before = first_due()
  redis.call('ZADD', delayed, unpack(later))
  if #parking > 0 then redis.call('HSET', parked, unpack(parking)) end
  wake_if_earlier(before)
end
return {word = remember(table.concat(letters))}
