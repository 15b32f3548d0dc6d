--- Idle workers sleep until what is the earliest delayed job: one that becomes the earliest wakes one of them.
--- @key delayed  zset: id by due ms
--- @use wake
local function first_due()
  return tonumber(redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2] or math.huge)
end

local function wake_if_earlier(before)
  if first_due() < before then push_token() end
end
