--- Audit the keys of a queue: each has a known shape, lives as long as it should, and belongs to something.
--- @key tries    hash: id -> failures, crashes, recoveries
--- @key logged   hash: id -> lines that were logged
--- @family job
--- @list known   names of the fixed keys
--- @use findings
local base = string.sub(job, 1, -5)
local fixed = {}
for _, name in ipairs(known) do fixed[base .. name] = true end

local function scan()
  if #again > 0 then return again, '0' end
  -- Names of queues and prefixes have nothing that a pattern could mean.
  local page = redis.call('SCAN', cursor, 'MATCH', base .. '*', 'COUNT', 500)
  return page[2], page[1]
end

local function check_outcome(key, id, lives, finished, live)
  if finished and lives then report('key', key, 'a finished job\'s outcome expires before its job') end
  if finished or lives then return end
  local failures = live and string.match(redis.call('HGET', tries, id) or '', '^(%d+) ')
  if tonumber(failures or 0) == 0 then report('key', key, 'an outcome of no finished and no failed job, for ever') end
end

local names, next_cursor = scan()
local ids, kinds = {}, {}
for i, name in ipairs(names) do
  local kind, member = string.match(string.sub(name, #base + 1), '^(%l+):(.+)$')
  kinds[i], ids[i] = fixed[name] and 'fixed' or kind or 'unknown', member or ''
end
local scores = #ids > 0 and scores_by_state(ids) or {}
for i, name in ipairs(names) do
  local kind, id, ms = kinds[i], ids[i], redis.call('PTTL', name)
  local lives = ms >= 0
  if ms ~= -2 then
    local finished = scores.completed[i] or scores.failed[i] or scores.cancelled[i]
    local live = scores.waiting[i] or scores.delayed[i] or scores.active[i]
    if kind == 'job' then
      if not finished and not live then report('key', name, 'a job in no place') end
      if lives then report('key', name, 'it expires, and its job does not') end
    elseif kind == 'outcome' then
      check_outcome(name, id, lives, finished, live)
    elseif kind == 'log' then
      if redis.call('HEXISTS', logged, id) == 0 then report('key', name, 'nothing says that its job logged') end
    elseif kind == 'session' or kind == 'inbox' or kind == 'producer' then
      if not lives then report('key', name, 'it never expires') end
    elseif kind == 'fixed' then
      if lives then report('key', name, 'it expires') end
    else
      report('key', name, 'redqueue makes no such key')
    end
  end
end
return {lines = lines, suspects = suspects, cursor = next_cursor}
