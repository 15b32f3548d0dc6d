--- What a job went through: counted failures, crashes, recoveries. Only jobs that had one have an entry.
--- @key tries    hash: id -> 'failed crashes recoveries'
local function tries_of(text)
  if not text then return 0, 0, 0 end
  local failed_runs, crashes, recoveries = string.match(text, '^(%d+) (%d+) (%d+)$')
  return tonumber(failed_runs), tonumber(crashes), tonumber(recoveries)
end

local function set_tries(id, failed_runs, crashes, recoveries)
  if failed_runs + crashes + recoveries == 0 then
    redis.call('HDEL', tries, id)
  else
    redis.call('HSET', tries, id, failed_runs .. ' ' .. crashes .. ' ' .. recoveries)
  end
end

-- A run that was given up for dead came back in time: no crash after all.
local function uncrash(id)
  local failed_runs, crashes, recoveries = tries_of(redis.call('HGET', tries, id))
  set_tries(id, failed_runs, math.max(crashes - 1, 0), recoveries)
end
