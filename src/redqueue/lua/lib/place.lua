--- Where a job is: in exactly one place, which is its state.
--- @key waiting   zset: id by order
--- @key active    zset: id -> lease deadline
--- @key delayed   zset: id by due ms
--- @key completed zset: id -> finished ms
--- @key failed    zset: id -> finished ms
--- @key cancelled zset: id -> finished ms
--- @key expiring  zset: id -> when its own age ends
--- @use clock sentinels
local STATES = {'waiting', 'active', 'delayed', 'completed', 'failed', 'cancelled'}
local PLACES = {waiting = waiting, active = active, delayed = delayed, completed = completed, failed = failed,
                cancelled = cancelled}
local FINISHED = {completed = completed, failed = failed, cancelled = cancelled}

-- A finished job whose own age is over is gone for everybody who asks, also before a worker's chores take it away.
local function is_over(id)
  local ends = redis.call('ZSCORE', expiring, id)
  return ends and tonumber(ends) <= now
end

-- The state of one job and its score there; nothing when it is not known.
local function place_of(id)
  for _, state in ipairs(STATES) do
    local score = redis.call('ZSCORE', PLACES[state], id)
    if score then
      if FINISHED[state] and is_over(id) then return nil end
      return state, tonumber(score)
    end
  end
  return nil
end

local function count_active()
  return redis.call('ZCARD', active) - (redis.call('ZSCORE', active, SENTINEL) and 1 or 0)
end
