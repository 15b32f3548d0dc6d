--- Hand outcomes back: complete, fail, retry, snooze, release, crash. The token decides; a stale one changes nothing.
--- @key active    zset: id -> lease deadline
--- @key cancels   hash: id -> reason
--- @arg session_id text
--- @list settle_ids      text
--- @list settle_numbers  the number of the claim: with the session, the token
--- @list settle_verdicts '<verb> <delay ms> <keep> <attempt>'; verb c f r s l k, keep '-' | '0' | own age in ms
--- @list settle_outcomes result or error as JSON; of a snooze the reason; of a release why a started run ended
--- @use lease tries end_runs again due
local settled = {c = {}, f = {}, x = {}, r = {}, s = {}, l = {}, k = {}}
local held, returning = {}, {}

-- Sort what this session may settle by what becomes of it. Answers a letter each: o, x (ended as cancelled), l (lost).
local function sort_settles()
  local letters, taken = {}, {}
  local found = redis.call('HMGET', leases, unpack(settle_ids))
  local flagged = redis.call('EXISTS', cancels) == 1 and redis.call('HMGET', cancels, unpack(settle_ids)) or {}
  local last, verb, ms, keep, attempt, claimed_by, holder
  for i, id in ipairs(settle_ids) do
    if settle_numbers[i] ~= claimed_by then
      claimed_by = settle_numbers[i]
      holder = session_id .. ':' .. claimed_by .. ' '
    end
    local mark = not taken[id] and mark_if_held(id, found[i], holder)
    if mark then
      taken[id] = true
      if settle_verdicts[i] ~= last then
        last = settle_verdicts[i]
        verb, ms, keep, attempt = string.match(last, '^(%l) (%d+) (%S+) (%d+)$')
        ms = tonumber(ms)
      end
      local becomes = verb
      if flagged[i] and verb ~= 'c' and verb ~= 'f' then becomes = 'x' end
      letters[i] = becomes == 'x' and 'x' or 'o'
      -- A run that was cut short by a cancel burned no attempt, unless it failed.
      local burned = becomes == 'x' and verb ~= 'r' and whole(attempt - 1) or attempt
      local group = settled[becomes]
      group[#group + 1] = {id = id, lease = found[i], mark = mark, ms = ms, keep = keep, attempt = burned,
                           outcome = settle_outcomes[i], reason = flagged[i]}
      held[#held + 1] = id
      if mark ~= '.' then returning[#returning + 1] = {id = id, mark = mark} end
    else
      letters[i] = 'l'
    end
  end
  return table.concat(letters)
end

-- A recovered job that its owner settles after all was waiting for another run.
local function take_back()
  for _, run in ipairs(returning) do
    redis.call('ZREM', waiting, run.id)
    if run.mark == 'C' then uncrash(run.id) end
  end
end

local function settle()
  local letters = #settle_ids > 0 and sort_settles() or ''
  -- Redis checks its memory at a script's first write. This one frees or does nothing, so a full server still drains.
  redis.call('ZREM', active, unpack(#held > 0 and held or {''}))
  if #held == 0 then return letters end
  redis.call('HDEL', leases, unpack(held))
  take_back()
  end_runs(settled.c, settled.f, settled.x)
  local before = #settled.r + #settled.s > 0 and first_due()
  retry_runs(settled.r)
  snooze_runs(settled.s)
  local interrupted = release_runs(settled.l)
  crash_runs(settled.k)
  note_started({settled.r, settled.s, settled.k, interrupted})
  if before then wake_if_earlier(before) end
  return letters
end
