--- For tests: let time pass for one page of a key of times.
--- @key delayed  zset: id by due ms
--- @key notes    hash: id -> since, why it waits
--- @key expires  hash: id -> when it is too late to start it, ms
--- @key meta     hash: hold
--- @arg wanted   text: the key's name
--- @arg cursor   text: '0' begins
--- @arg ms       int
--- @use record place wake
--- @reply word   the next page's cursor, '0' ends; stale
local kept = recall()
if kept then return {word = kept} end

local function move_scores(zset)
  local page = redis.call('ZRANGE', zset, cursor, cursor + 999, 'WITHSCORES')
  local moved = {}
  for i = 1, #page, 2 do
    if page[i] ~= SENTINEL then
      moved[#moved + 1] = whole(math.max(page[i + 1] - ms, 0))
      moved[#moved + 1] = page[i]
    end
  end
  if #moved > 0 then redis.call('ZADD', zset, unpack(moved)) end
  return #page == 2000 and whole(cursor + 1000) or '0'
end

-- Values that begin with a time.
local function move_values(hash)
  local page = redis.call('HSCAN', hash, cursor, 'COUNT', 500)
  for i = 1, #page[2], 2 do
    local time, rest = string.match(page[2][i + 1], '^(%d+)(.*)$')
    if time then redis.call('HSET', hash, page[2][i], whole(math.max(time - ms, 0)) .. rest) end
  end
  return page[1]
end

local function move_hold()
  local hold = redis.call('HGET', meta, 'hold')
  if hold then redis.call('HSET', meta, 'hold', whole(math.max(hold - ms, 0))) end
  return '0'
end

if wanted == 'notes' then return {word = remember(move_values(notes))} end
if wanted == 'expires' then return {word = remember(move_values(expires))} end
if wanted == 'meta' then return {word = remember(move_hold())} end
local next_cursor = move_scores(wanted == 'expiring' and expiring or PLACES[wanted])
-- Idle workers sleep until what was the earliest.
if wanted == 'delayed' and redis.call('ZCARD', delayed) > 0 then push_token() end
return {word = remember(next_cursor)}
