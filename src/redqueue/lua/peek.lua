--- How jobs ended, for who waits for them.
--- @family outcome
--- @list job_ids  at most 1,000
--- @use place retention
--- @reply newest  the newest event's id: later ones are not in the answer
--- @reply states  where each job is, or was when its outcome lives on; missing; or later: that one is to be asked again
--- @reply found   of the finished ones result, error, reason, attempt
-- A thousand results of 1 MiB are not sent at once.
local MOST_BYTES = 4194304
local KINDS = {'completed', 'failed', 'cancelled'}
local states, found, bytes = {}, {}, 0

local function size_of(fields)
  local size = 0
  for i = 1, #fields do size = size + (fields[i] and #fields[i] or 0) end
  return size
end

-- A large outcome without a place lives on for a while: with a TTL, or until its job, whose own age is over, is swept.
local function kept_kind(id, fields)
  for i, kind in ipairs(KINDS) do
    if fields[i] and redis.call('PTTL', outcome .. id) > 0 then return kind end
    local finished = fields[i] and #fields[i] > SMALL and redis.call('HGET', outcome .. id, 'finished')
    if finished and finished + LINGER > now then return kind end
  end
  return 'missing'
end

for i, id in ipairs(job_ids) do
  found[i] = false
  states[i] = bytes > MOST_BYTES and 'later' or place_of(id) or 'missing'
  if FINISHED[states[i]] or states[i] == 'missing' then
    local fields = redis.call('HMGET', outcome .. id, 'result', 'error', 'reason', 'attempt')
    if states[i] == 'missing' then states[i] = kept_kind(id, fields) end
    if states[i] ~= 'missing' then
      bytes = bytes + size_of(fields)
      found[i] = fields
    end
  end
end
return {newest = newest_event(), states = states, found = found}
