--- Audit one place: each of its jobs is nowhere else, is stored, and has what this place asks for.
--- @key leases   hash: id -> lease
--- @key meta     hash: lease, seen, hold
--- @family job
--- @family outcome
--- @arg wanted   text: the state
--- @arg most_priority int
--- @use findings order retention
local facts = redis.call('HMGET', meta, 'lease', 'seen', 'hold')
local lease, seen, hold = tonumber(facts[1] or 30000), tonumber(facts[2] or 0), tonumber(facts[3] or 0)
local recovering = hold <= now and now - seen <= lease / 2
local checks = {}

function checks.waiting(id, score)
  if math.abs(priority_of(score)) > most_priority then report('waiting', id, 'its order is of no priority') end
end

function checks.active(id, score)
  local kept = redis.call('HGET', leases, id)
  if not kept then
    report('active', id, 'it has no lease')
  elseif string.sub(kept, -1) ~= '.' then
    report('active', id, 'its lease is marked as recovered')
  end
  if score > now + 2 * lease then report('active', id, 'its deadline is more than two leases away') end
  -- A score of 0 is of a worker that was just reaped.
  if score > 0 and score < now - lease and recovering then
    report('active', id, 'its lease ended long ago, and nobody recovers it')
  end
end

function checks.delayed() end

local function check_finished(id, score)
  if redis.call('EXISTS', outcome .. id) == 0 then report(wanted, id, 'it has no outcome') end
  local own_age = redis.call('ZSCORE', expiring, id)
  if score >= OWN_AGE and not own_age then report(wanted, id, 'nothing says when it expires') end
  if score < OWN_AGE and own_age then report(wanted, id, 'it has an age of its own and is counted, too') end
end

local page, next_cursor = page_of(PLACES[wanted])
if #page == 0 then return {lines = lines, suspects = suspects, cursor = next_cursor} end
local scores = scores_by_state(page)
for i, id in ipairs(page) do
  local score = tonumber(scores[wanted][i])
  if score and id ~= SENTINEL then
    if redis.call('EXISTS', job .. id) == 0 then report(wanted, id, 'its job key is missing') end
    local behind = false
    for _, state in ipairs(STATES) do
      if behind and scores[state][i] then report(wanted, id, 'it is in ' .. state .. ', too') end
      behind = behind or state == wanted
    end
    local check = checks[wanted] or check_finished
    check(id, score)
  end
end
return {lines = lines, suspects = suspects, cursor = next_cursor}
