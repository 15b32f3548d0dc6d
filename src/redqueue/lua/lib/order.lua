--- The place in line: priority * 2^42 + 2^41 + sequence, so that one number sorts by both.
--- @key meta     hash: seq
--- @use clock
local SPAN, HALF = 4398046511104, 2199023255552

local function take_sequence(count)
  return redis.call('HINCRBY', meta, 'seq', count) - count
end

local function order_of(priority, sequence)
  return whole(priority * SPAN + HALF + sequence)
end

local function priority_of(order)
  return math.floor(order / SPAN)
end
