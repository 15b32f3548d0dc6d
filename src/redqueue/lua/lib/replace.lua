--- New jobs in the place of finished ones of the same ids, whose own age is over.
--- @key expiring zset: id -> when its own age ends
--- @family outcome
--- @use retention
-- What is left of the former ones, when the envelopes of the new ones have been stored.
local function replace(ids)
  if #ids == 0 then return end
  unlist(ids)
  unlink_logs(ids)
  local gone = {}
  for _, id in ipairs(ids) do gone[#gone + 1] = outcome .. id end
  redis.call('UNLINK', unpack(gone))
end
