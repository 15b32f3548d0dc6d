--- Audit one of the keys beside the places: what is noted of a job belongs to where it is.
--- @key leases   hash: id -> lease
--- @key tries    hash: id -> failures, crashes, recoveries
--- @key notes    hash: id -> since, why it waits
--- @key cancels  hash: id -> reason
--- @key parked   hash: id -> priority or order of a delayed job
--- @key expires  hash: id -> when it is too late to start it, ms
--- @key progress hash: id -> what its run told of it
--- @key states   hash: id -> its last checkpoint
--- @key logged   hash: id -> lines that were logged
--- @key sessions zset: session -> last seen ms
--- @family session
--- @arg wanted   text: the key's name
--- @arg most_priority int
--- @arg max_crashes int
--- @use findings order
local HASHES = {leases = leases, tries = tries, notes = notes, cancels = cancels, parked = parked,
                expires = expires, progress = progress, states = states, logged = logged}
local ZSETS = {expiring = expiring, sessions = sessions}
local checks = {}
local scores = {}
local function is_finished(i)
  return not (scores.waiting[i] or scores.delayed[i] or scores.active[i])
end

function checks.leases(i, text)
  local order, mark = string.match(text, '^%S+:%d+ (%S+) %d+ %d+ ([.RC])$')
  if not mark then return 'it is no lease' end
  if mark == '.' then return not scores.active[i] and 'it is held, and its job is not active' end
  local place = scores.waiting[i]
  if not place then return 'it is marked as recovered, and its job is not waiting' end
  return tonumber(place) ~= tonumber(order) and 'its job waits at another order'
end

function checks.tries(i, text)
  local failures, crashes, recoveries = string.match(text, '^(%d+) (%d+) (%d+)$')
  if not crashes then return 'it is not three numbers' end
  if failures + crashes + recoveries == 0 then return 'it counts nothing' end
  if tonumber(crashes) >= max_crashes then return 'its job crashed too often to be here' end
  return is_finished(i) and 'its job is not waiting, delayed or active'
end

function checks.notes(i, text)
  if not string.match(text, '^%d+ .') then return 'it is not a time and a reason' end
  return is_finished(i) and 'its job is not waiting, delayed or active'
end

function checks.cancels(i)
  return not scores.active[i] and 'its job is not active'
end

function checks.parked(i, text)
  local kind, value = string.match(text, '^([po])(%-?%d+)$')
  local priority = kind == 'o' and priority_of(value) or tonumber(value)
  if not priority or math.abs(priority) > most_priority then return 'it is neither a priority nor an order' end
  return not scores.delayed[i] and 'its job is not delayed'
end

function checks.expires(i, text)
  if not string.match(text, '^%d+$') then return 'it is no time' end
  return is_finished(i) and 'its job is not waiting, delayed or active'
end

function checks.progress(i)
  return is_finished(i) and 'its job is not waiting, delayed or active'
end

checks.states = checks.progress

function checks.logged(i, text)
  if not string.match(text, '^%d+$') then return 'it is no number of lines' end
  local listed = scores.completed[i] or scores.failed[i] or scores.cancelled[i]
  return is_finished(i) and not listed and 'its job is in no place'
end

function checks.expiring(i)
  local listed = scores.completed[i] or scores.failed[i] or scores.cancelled[i]
  return not listed and 'its job is not finished'
end

function checks.sessions(_, seen, id)
  -- A session's key ends an hour after it was seen last.
  return seen > now - 3500000 and redis.call('EXISTS', session .. id) == 0 and 'its session key is missing'
end

local ids, values, next_cursor
if HASHES[wanted] then
  ids, values, next_cursor = fields_of(HASHES[wanted])
else
  ids, next_cursor = page_of(ZSETS[wanted])
  values = #ids > 0 and redis.call('ZMSCORE', ZSETS[wanted], unpack(ids)) or {}
end
if #ids > 0 then scores = scores_by_state(ids) end
for i, id in ipairs(ids) do
  local value = ZSETS[wanted] and tonumber(values[i]) or values[i]
  local finding = value and id ~= SENTINEL and checks[wanted](i, value, id)
  if finding then report(wanted, id, finding) end
end
return {lines = lines, suspects = suspects, cursor = next_cursor}
