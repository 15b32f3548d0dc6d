--- What a JobStatus needs to know, a column for each fact, in the order of the ids.
--- @key leases   hash: id -> lease
--- @key tries    hash: id -> failures, crashes, recoveries
--- @key notes    hash: id -> since, why it waits
--- @key progress hash: id -> what its run told of it
--- @family outcome
--- @family session
--- @list outcome_fields text: which ones of an outcome; may be none
--- @use place head
--- @reply state    of all of them; nothing when there is no such job
--- @reply now      ms
--- @reply ids      less than were asked for when their outcomes are large: the other columns may be longer
--- @reply heads    the envelopes' first lines
--- @reply spots    of waiting jobs how many are before them, of delayed ones when they are due, in ms
--- @reply claimed  ms, of active jobs
--- @reply workers  by name, of active jobs
--- @reply tried    of those that are not finished
--- @reply noted    of those that are not finished
--- @reply told     of those that are not finished: what their runs told
--- @reply outcomes the outcome's fields
-- A page of results of 1 MiB ends with the one that makes it too much.
local MOST_BYTES = 4194304

local function describe(ids, state)
  local finished = FINISHED[state]
  local answer = {state = state, now = now, ids = {}, heads = {}, spots = {}, claimed = {}, workers = {}, tried = {},
                  noted = {}, told = {}, outcomes = {}}
  if not finished and #ids > 0 then
    answer.tried = redis.call('HMGET', tries, unpack(ids))
    answer.noted = redis.call('HMGET', notes, unpack(ids))
    answer.told = redis.call('HMGET', progress, unpack(ids))
  end
  local names = {}
  local function name_of(holder)
    if names[holder] == nil then names[holder] = redis.call('HGET', session .. holder, 'worker') end
    return names[holder]
  end
  local bytes = 0
  for i, id in ipairs(ids) do
    if bytes > MOST_BYTES then break end
    answer.ids[i] = id
    answer.heads[i] = head_of(id)
    answer.spots[i] = state == 'waiting' and redis.call('ZRANK', waiting, id)
                      or state == 'delayed' and redis.call('ZSCORE', delayed, id)
    local lease = state == 'active' and redis.call('HGET', leases, id) or ''
    local holder, claimed = string.match(lease, '^(%S+):%d+ %S+ (%d+) ')
    answer.claimed[i] = claimed or false
    answer.workers[i] = holder and name_of(holder) or false
    -- Of an unfinished job that never failed it would be a former job's, which lingers.
    local told = finished or answer.tried[i] and not string.match(answer.tried[i], '^0 ')
    local fields = told and #outcome_fields > 0 and redis.call('HMGET', outcome .. id, unpack(outcome_fields))
    for _, field in ipairs(fields or {}) do bytes = bytes + (field and #field or 0) end
    answer.outcomes[i] = fields or false
  end
  return answer
end
