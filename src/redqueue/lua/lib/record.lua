--- What a producer's lane last did: a call sent again gets the same answer and changes nothing.
--- @key record   string: number and answer
--- @arg number   int
--- @use clock
local function recall()
  local kept = redis.call('GET', record)
  if not kept then return nil end
  local last, word = string.match(kept, '^(%d+) (.*)$')
  if tonumber(last) == number then return word end
  if tonumber(last) > number then return 'stale' end
  return nil
end

local function remember(word)
  -- Outlives the 5 minutes for which a producer may send the call again.
  redis.call('SET', record, whole(number) .. ' ' .. word, 'PX', 600000)
  return word
end
