--- The audit's scripts only read. Each looks at one page, or again at the suspects of an earlier page.
--- @arg cursor   text: '0' begins
--- @list again   ids to be looked at again instead of a page
--- @use place
--- @reply lines    a finding each
--- @reply suspects whom they are about
--- @reply cursor   of the next page; '0' ends
local lines, suspects = {}, {}
local function report(key, id, finding)
  lines[#lines + 1] = key .. ' ' .. id .. ': ' .. finding
  suspects[#suspects + 1] = id
end

-- By state, the scores of all ids: false where one isn't.
local function scores_by_state(ids)
  local scores = {}
  for _, state in ipairs(STATES) do scores[state] = redis.call('ZMSCORE', PLACES[state], unpack(ids)) end
  return scores
end

local function page_of(zset)
  if #again > 0 then return again, '0' end
  local start = tonumber(cursor)
  local ids = redis.call('ZRANGE', zset, start, start + 999)
  return ids, #ids == 1000 and whole(start + 1000) or '0'
end

-- Fields and values, and the next cursor.
local function fields_of(hash)
  local ids, values = {}, {}
  if #again > 0 then
    local found = redis.call('HMGET', hash, unpack(again))
    for i, id in ipairs(again) do
      if found[i] then ids[#ids + 1], values[#values + 1] = id, found[i] end
    end
    return ids, values, '0'
  end
  local page = redis.call('HSCAN', hash, cursor, 'COUNT', 500)
  for i = 1, #page[2], 2 do ids[#ids + 1], values[#values + 1] = page[2][i], page[2][i + 1] end
  return ids, values, page[1]
end
