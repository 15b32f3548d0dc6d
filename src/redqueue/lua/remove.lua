--- Remove jobs by their ids, with all that is kept of them. Totals stay as they are.
--- @arg expected text: the only state in which they are removed, or empty for any
--- @arg force    int: 1 takes active ones from under their workers
--- @list job_ids  at most 1,000
--- @use record place room drop
--- @reply word   how many; stale
local kept = recall()
if kept then return {word = kept} end
local by_state, count = {}, 0
for _, id in ipairs(job_ids) do
  local state = place_of(id)
  if state and (expected == '' or expected == state) and (force == 1 or state ~= 'active') then
    local group = by_state[state] or {}
    group[#group + 1] = id
    by_state[state] = group
    count = count + 1
  end
end
pass_memory_check()
for state, group in pairs(by_state) do drop(state, group) end
return {word = remember(whole(count))}
