--- Redis's own clock, in milliseconds. No client's clock decides anything.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function whole(value)
  -- tostring keeps 14 digits, and orders have 16.
  return string.format('%.0f', value)
end
