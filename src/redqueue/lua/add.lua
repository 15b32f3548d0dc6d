--- Store jobs and make them claimable: each is answered 'c' (created) or 'd' (duplicate).
--- @key record
--- @key waiting   zset: id by order
--- @key delayed   zset: id by due ms
--- @key parked    hash: id -> p<priority>, where it isn't 0
--- @key expires   hash: id -> when it is too late to start it, ms
--- @key meta      hash: seq, paused, format, born
--- @arg number    int
--- @arg format    text of the stored layout
--- @keys jobs     the envelopes' keys
--- @list job_ids  text
--- @list envelopes text
--- @list places   '<priority>', with ' l' for lifo, ' d<ms>' for a delay, ' a<ms>' for a time; then ' e<ms>', in which
---                it must be started
--- @use record order due place replace
--- @reply word    a letter a job and the newest event's id, or stale, format
local kept = recall()
if kept then return {word = kept} end
local facts = redis.call('HMGET', meta, 'format', 'paused')
if facts[1] and facts[1] ~= format then return {word = 'format'} end

-- None, nearly always. Else each is asked for: to read them all could take gigabytes.
local any_known = redis.call('EXISTS', unpack(jobs)) > 0
local fresh, pairs_to_set, letters, twice, gone = {}, {}, {}, {}, {}
for i, id in ipairs(job_ids) do
  local known = twice[id] or any_known and redis.call('EXISTS', jobs[i]) == 1
  local over = known and not twice[id] and is_over(id)
  if known and not over then
    letters[i] = 'd'
  else
    letters[i] = 'c'
    if over then gone[#gone + 1] = id end
    twice[id] = true
    fresh[#fresh + 1] = i
    pairs_to_set[#pairs_to_set + 1] = jobs[i]
    pairs_to_set[#pairs_to_set + 1] = envelopes[i]
  end
end
if #fresh == 0 then return {word = remember(table.concat(letters) .. ' ')} end

-- First, so that a server out of memory refuses the whole call.
redis.call('MSET', unpack(pairs_to_set))
replace(gone)
local sequence = take_sequence(#fresh)
if sequence == 0 then
  redis.call('HSETNX', meta, 'format', format)
  redis.call('HSET', meta, 'born', now)
end
local line, later, parking, expiry, added = {}, {}, {}, {}, {}
local last, priority, how, ms, within
for _, i in ipairs(fresh) do
  sequence = sequence + 1
  if places[i] ~= last then
    last = places[i]
    priority, how, ms, within = string.match(last, '^(%-?%d+) ?([lda]?)(%d*) ?e?(%d*)$')
  end
  added[#added + 1] = job_ids[i]
  local due = how == 'd' and now + ms or how == 'a' and tonumber(ms) or 0
  if within ~= '' then
    expiry[#expiry + 1] = job_ids[i]
    expiry[#expiry + 1] = whole(math.max(now, due) + within)
  end
  if due > now then
    later[#later + 1] = whole(due)
    later[#later + 1] = job_ids[i]
    if priority ~= '0' then
      parking[#parking + 1] = job_ids[i]
      parking[#parking + 1] = 'p' .. priority
    end
  else
    line[#line + 1] = order_of(priority, how == 'l' and -sequence or sequence)
    line[#line + 1] = job_ids[i]
  end
end
if #line > 0 then
  redis.call('ZADD', waiting, unpack(line))
  if not facts[2] then push_token() end
end
if #later > 0 then
  local before = first_due()
  redis.call('ZADD', delayed, unpack(later))
  if #parking > 0 then redis.call('HSET', parked, unpack(parking)) end
  wake_if_earlier(before)
end
if #expiry > 0 then redis.call('HSET', expires, unpack(expiry)) end
return {word = remember(table.concat(letters) .. ' ' .. happened('added', added))}
