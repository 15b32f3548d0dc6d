--- What runs tell of themselves while they go on: progress, checkpoints, log lines. The token decides.
--- @key progress hash: id -> what its run told of it
--- @key states   hash: id -> its last checkpoint
--- @key logged   hash: id -> lines that were logged
--- @family log
--- @arg session_id text
--- @list report_ids     text, at most 1,000
--- @list report_numbers of their claims
--- @list report_kinds   p progress, s state, l line of the log
--- @list report_texts   text
--- @use lease events
local LINES = 1000

-- Answers a letter each: o noted, l the lease is lost.
local function take_reports()
  if #report_ids == 0 then return '' end
  local found, letters, shown, details = redis.call('HMGET', leases, unpack(report_ids)), {}, {}, {}
  for i, id in ipairs(report_ids) do
    local held = mark_if_held(id, found[i], session_id .. ':' .. report_numbers[i] .. ' ')
    letters[i] = held and 'o' or 'l'
    if held and report_kinds[i] == 'p' then
      redis.call('HSET', progress, id, report_texts[i])
      shown[#shown + 1], details[id] = id, report_texts[i]
    elseif held and report_kinds[i] == 's' then
      redis.call('HSET', states, id, report_texts[i])
    elseif held then
      redis.call('RPUSH', log .. id, report_texts[i])
      if redis.call('HINCRBY', logged, id, 1) > LINES then redis.call('LTRIM', log .. id, -LINES, -1) end
    end
  end
  happened('progress', shown, details)
  return table.concat(letters)
end
