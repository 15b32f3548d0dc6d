--- One token without meaning for one idle worker; who gets it passes it on when work is left.
--- @key wake     list: at most one token
--- @key waiting  zset: id by order
--- @key meta     hash: paused
local function push_token()
  if redis.call('LLEN', wake) == 0 then redis.call('RPUSH', wake, '1') end
end

local function wake_idle()
  -- A paused queue would hand the token round for ever.
  if redis.call('ZCARD', waiting) > 0 and not redis.call('HGET', meta, 'paused') then push_token() end
end
