--- What happened, for whoever listens: an entry a call and 100 jobs, with the kinds' names and the jobs' ids, and a
--- detail of a job under ':' and its id.
--- @key events   stream
--- @use clock
local IDS_AN_ENTRY, BYTES_AN_ENTRY = 100, 16384
-- A busy queue's entries are large, and a bounded stream must not be a large one.
local ENTRIES, LARGE, LARGE_ENTRIES = 10000, 1024, 2000

-- What is longer than this is not in the event: '>' says that it is looked up under the job's outcome.
local SMALL = 1024
-- A reason that is '>' itself gets a space behind it, or it would be looked up where nothing is kept.
local function brief(text)
  if text == '>' then return '> ' end
  return #text > SMALL and '>' or text
end

local function newest_event()
  local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
  return newest and newest[1] or '0-0'
end

local function tell(fields, bytes)
  local most = bytes > LARGE and LARGE_ENTRIES or ENTRIES
  return redis.call('XADD', events, 'MAXLEN', '~', most, '*', unpack(fields))
end

-- One kind, of any number of jobs; details by id, where there are any; more: further fields. Answers the last one's id.
local function happened(kind, who, details, more)
  local first, position = 1, nil
  while first <= #who do
    local fields, bytes, last = {kind, ''}, 0, first - 1
    while last < #who and last - first + 1 < IDS_AN_ENTRY and bytes < BYTES_AN_ENTRY do
      last = last + 1
      local id = who[last]
      local detail = details and details[id]
      bytes = bytes + #id + 1 + (detail and #detail or 0)
      if detail then
        fields[#fields + 1] = ':' .. id
        fields[#fields + 1] = detail
      end
    end
    fields[2] = table.concat(who, ' ', first, last)
    for _, field in ipairs(more or {}) do fields[#fields + 1] = field end
    position = tell(fields, bytes)
    first = last + 1
  end
  return position
end
