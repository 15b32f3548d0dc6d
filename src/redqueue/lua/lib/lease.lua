--- A lease: '<session>:<number> order claimed_ms position mark'. Mark '.' is held; 'R' and 'C' are last leases of jobs
--- that were recovered, C with a crash counted: their owner may still settle or renew while nobody claimed them again.
--- @key leases   hash: id -> lease
--- @key waiting  zset: id by order
local function lease_parts(lease)
  local order, claimed = string.match(lease, '^%S+ (%S+) (%d+) ')
  return order, claimed
end

-- The mark, when the token is the lease's and the lease is still its holder's; else nil.
local function mark_if_held(id, lease, holder)
  if not lease or string.sub(lease, 1, #holder) ~= holder then return nil end
  local mark = string.sub(lease, -1)
  if mark ~= '.' and not redis.call('ZSCORE', waiting, id) then return nil end
  return mark
end
