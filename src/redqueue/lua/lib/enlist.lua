--- List finished jobs, each {id, keep}; keep: none or '-' by the list's rule, else an age of the job's own in ms.
--- @key expiring  zset: id -> when its own age ends
--- @use clock retention
local function list_finished(list, runs)
  local listed, ages, counted, own = {}, {}, whole(now), whole(OWN_AGE + now)
  for _, run in ipairs(runs) do
    local by_rule = not run.keep or run.keep == '-'
    listed[#listed + 1] = by_rule and counted or own
    listed[#listed + 1] = run.id
    if not by_rule then
      ages[#ages + 1] = whole(now + run.keep)
      ages[#ages + 1] = run.id
    end
  end
  if #listed > 0 then redis.call('ZADD', list, unpack(listed)) end
  if #ages > 0 then redis.call('ZADD', expiring, unpack(ages)) end
end
