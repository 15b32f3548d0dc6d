--- One page of a place.
--- @arg wanted   text: the state
--- @arg start    int
--- @arg count    int, at most 1,000
--- @arg newest   int: 1 from the place's end, 0 from its beginning
--- @use describe
local found
if newest == 1 then
  local first = start
  if wanted == 'active' and redis.call('ZSCORE', active, SENTINEL) then first = first + 1 end
  found = redis.call('ZREVRANGE', PLACES[wanted], first, first + count - 1)
else
  found = redis.call('ZRANGE', PLACES[wanted], start, start + count - 1)
end
local ids = {}
for _, id in ipairs(found) do
  if id ~= SENTINEL and not (FINISHED[wanted] and is_over(id)) then ids[#ids + 1] = id end
end
return describe(ids, wanted)
