--- Take the first ones of the line, in order, and lease them.
--- @key waiting  zset: id by order
--- @key active   zset: id -> lease deadline
--- @key leases   hash: id -> lease
--- @key expires  hash: id -> when it is too late to start it, ms
--- @key states   hash: id -> its last checkpoint
--- @family job
--- @arg worker   text: how people call the session
--- @arg failed_count int, -1 for no limit
--- @arg failed_age   int, ms, -1 for no limit
--- @use clock sentinels forget retention end_unsettled events
-- An answer that takes longer than its time-out would be asked for again and again: what is too much stays in line.
local MOST_BYTES = 4194304
-- Read so many at once at the most, and so many first: a thousand of 1 MiB would take a GiB only to be put back.
local READ, READ_FIRST = 50, 4
local EXPIRED = '{"type":"JobExpired","message":"nobody started it in time: its expires_in is over"}'

-- As many as are not too much; false for one that is missing.
local function read_envelopes(ids)
  local envelopes, bytes, count = {}, 0, READ_FIRST
  local restoring = redis.call('EXISTS', states) == 1
  while #envelopes < #ids and bytes <= MOST_BYTES do
    local names, first = {}, #envelopes + 1
    for i = first, math.min(first + count - 1, #ids) do names[#names + 1] = job .. ids[i] end
    for _, envelope in ipairs(redis.call('MGET', unpack(names))) do
      if bytes > MOST_BYTES then return envelopes end
      envelopes[#envelopes + 1] = envelope
      bytes = bytes + (envelope and #envelope or 0)
      if restoring then bytes = bytes + redis.call('HSTRLEN', states, ids[#envelopes]) end
    end
    -- What still fits, were the others as large as these: what is read and put back costs as much as what is claimed.
    count = math.min(READ, math.floor((MOST_BYTES - bytes) * #envelopes / math.max(bytes, 1)) + 1)
  end
  return envelopes
end

-- By id, those that nobody started in time. What was started has no entry any more.
local function find_expired(ids)
  if redis.call('EXISTS', expires) == 0 then return {} end
  local over = {}
  for i, ms in ipairs(redis.call('HMGET', expires, unpack(ids))) do over[ids[i]] = ms and tonumber(ms) <= now or nil end
  return over
end

local function end_expired(runs)
  if #runs == 0 then return end
  local ids = {}
  for i, run in ipairs(runs) do ids[i] = run.id end
  happened('expired', ids)
  end_unsettled(failed, 'failed', 'error', runs, failed_count)
  trim(failed, failed_count, failed_age)
end

-- Answers ids, envelopes, and how many the line had of those asked for.
local function claim(count, token, lease_ms)
  local popped = redis.call('ZPOPMIN', waiting, count)
  if #popped == 0 then return {}, {}, 0 end
  local ids = {}
  for i = 1, #popped, 2 do ids[#ids + 1] = popped[i] end
  local envelopes = read_envelopes(ids)
  local claimed, bodies, missing, back, over, expired = {}, {}, {}, {}, find_expired(ids), {}
  local leasing, deadlines = {SENTINEL, ''}, {'+inf', SENTINEL}
  -- Made once: a number that is passed to Redis is written anew each time.
  local holder, since, deadline = token .. ' ', ' ' .. whole(now) .. ' ', whole(now + lease_ms)
  for i, id in ipairs(ids) do
    local order = popped[2 * i]
    if envelopes[i] and over[id] then
      expired[#expired + 1] = {id = id, order = order, text = EXPIRED, attempt = 0}
    elseif envelopes[i] then
      claimed[#claimed + 1] = id
      bodies[#bodies + 1] = envelopes[i]
      leasing[#leasing + 1] = id
      leasing[#leasing + 1] = holder .. order .. since .. #claimed .. ' .'
      deadlines[#deadlines + 1] = deadline
      deadlines[#deadlines + 1] = id
    elseif i <= #envelopes then
      missing[#missing + 1] = id
    else
      back[#back + 1] = order
      back[#back + 1] = id
    end
  end
  if #back > 0 then redis.call('ZADD', waiting, unpack(back)) end
  redis.call('HSET', leases, unpack(leasing))
  redis.call('ZADD', active, unpack(deadlines))
  if #missing > 0 then
    forget(missing)
    unlink(missing)
  end
  end_expired(expired)
  happened('active', claimed, nil, {'worker', worker})
  return claimed, bodies, #ids
end
