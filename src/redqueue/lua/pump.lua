--- One round trip of a worker's lane: note what its runs tell, settle what ended, claim up to n jobs and lease them.
--- @key session   hash: <lane> -> number words reports fence|ids; u -> number|claimed, not started
--- @key waiting   zset: id by order
--- @key leases    hash: id -> lease
--- @key tries     hash: id -> failures, crashes, recoveries
--- @key notes     hash: id -> since, why it waits
--- @key states    hash: id -> its last checkpoint
--- @key active    zset: id -> lease deadline
--- @key meta      hash: lease, paused, keep, fence
--- @family job
--- @arg lane      text
--- @arg number    int: grows with every call of the session
--- @arg n         int, at most 1000
--- @arg unstarted text: 'number:first-last', the positions of what is claimed and not started yet
--- @use clock room report settle promote claim wake drained
--- @reply state     ok, or stale: a later call of this lane has been carried out
--- @reply words     a letter for each settle
--- @reply told      a letter for each report
--- @reply ids       claimed, in order; an empty one is a gap in the answer to a resend
--- @reply envelopes of them; none for a gap
--- @reply tried     of them, when any job has tries
--- @reply noted     of them, when any job has a note
--- @reply saved     the checkpoints of them, when any job has one
--- @reply fence     of this claim: greater than that of any before
--- @reply now       ms
--- @reply lease     ms
--- @reply next_due  ms until the next delayed job, or -1
--- @reply more      whether claimable jobs are left
--- @reply paused    whether the queue is paused
local token = session_id .. ':' .. whole(number)
local facts = redis.call('HMGET', meta, 'lease', 'paused', 'keep', 'fence')
local lease, paused = tonumber(facts[1] or 30000), facts[2] and 1 or 0

local function answer_with(words, told, fence, ids, envelopes, next_due)
  local tried, noted, saved = {}, {}, {}
  if #ids > 0 and redis.call('EXISTS', tries) == 1 then tried = redis.call('HMGET', tries, unpack(ids)) end
  if #ids > 0 and redis.call('EXISTS', notes) == 1 then noted = redis.call('HMGET', notes, unpack(ids)) end
  if #ids > 0 and redis.call('EXISTS', states) == 1 then saved = redis.call('HMGET', states, unpack(ids)) end
  local more = paused == 0 and redis.call('ZCARD', waiting) > 0 and 1 or 0
  return {state = 'ok', words = words, told = told, ids = ids, envelopes = envelopes, tried = tried, noted = noted,
          saved = saved, fence = fence, now = now, lease = lease, next_due = next_due, more = more, paused = paused}
end

-- The call was carried out before: its words, and of its jobs those that are still leased by it. The others are gaps,
-- with no id and no envelope, since a job is known as not started by its position.
local function answer_again(words, told, fence, ids)
  local mine, names = {}, {}
  for id in string.gmatch(ids, '%S+') do
    local kept = redis.call('HGET', leases, id)
    local still = kept and string.sub(kept, 1, #token + 1) == token .. ' ' and string.sub(kept, -1) == '.'
    mine[#mine + 1] = still and id or ''
    names[#names + 1] = job .. mine[#mine]
  end
  local next_one = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  local next_due = next_one[2] and math.max(tonumber(next_one[2]) - now, 0) or -1
  return answer_with(words, told, fence, mine, #mine > 0 and redis.call('MGET', unpack(names)) or {}, next_due)
end

local last, listed = unpack(redis.call('HMGET', session, lane, 'u'))
if last then
  local done, words, told, fence, ids = string.match(last, '^(%d+) (%l*) (%l*) (%d+)|(.*)$')
  if tonumber(done) == number then return answer_again(words, told, tonumber(fence), ids) end
  if tonumber(done) > number then
    return {state = 'stale', words = '', told = '', ids = {}, envelopes = {}, tried = {}, noted = {}, saved = {},
            fence = 0, now = now, lease = lease, next_due = -1, more = 0, paused = paused}
  end
end
pass_memory_check()
local told = take_reports()
local words = settle()
local next_due = promote_due()
local ids, envelopes, got = {}, {}, 0
if paused == 0 and n > 0 then ids, envelopes, got = claim(n, token, lease) end
-- Not a counter alone: it must grow also after the queue was removed and made again. In microseconds, since a busy
-- queue claims more than once a millisecond, and the counter must not run ahead of the clock.
local fence = #ids > 0 and math.max(tonumber(facts[4] or 0) + 1, clock[1] * 1000000 + clock[2]) or 0
if fence > 0 then redis.call('HSET', meta, 'fence', whole(fence)) end
local answer = answer_with(words, told, fence, ids, envelopes, next_due)
-- What it got and did not claim had expired.
if #ids == 0 and answer.more == 0 and (got > 0 or string.find(words, '[ox]')) then tell_if_drained() end
-- Whoever takes all that it asked for may have left some for others. Who found less must not: the token would spin.
if got == n and (answer.more == 1 or (n > 0 and next_due >= 0 and next_due <= 5000)) then push_token() end
local rule = table.concat({completed_count, completed_age, failed_count, failed_age}, ' ')
if facts[3] ~= rule then redis.call('HSET', meta, 'keep', rule) end
local counted = string.match(listed or '', '^(%d+)|')
local done = table.concat({whole(number), words, told, whole(fence)}, ' ')
local record = {lane, done .. '|' .. table.concat(ids, ' ')}
if not counted or tonumber(counted) < number then
  record[3], record[4] = 'u', whole(number) .. '|' .. unstarted
end
redis.call('HSET', session, unpack(record))
if not counted then redis.call('EXPIRE', session, 3600) end
return answer
