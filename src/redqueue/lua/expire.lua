--- The worker of a session is known to be dead: no late copy of its calls may be carried out, and recovery may take
--- what it held at once. A page of the active jobs a call; the lists of what it had not started stay for recovery.
--- @key session  hash: <lane> -> the lane's last call; u -> number|claimed, not started; left
--- @key sessions zset: session -> last seen ms
--- @key active   zset: id -> lease deadline; 0 when its holder is known dead
--- @key leases   hash: id -> lease
--- @arg session_id text
--- @arg cursor   text: of the scan; 0 begins it
--- @list lanes   text
--- @use room sentinels
--- @reply cursor  for the next call; 0 when this was the last page
--- @reply expired how many
local page = redis.call('ZSCAN', active, cursor, 'COUNT', 500)
local ids = {}
for i = 1, #page[2], 2 do
  if page[2][i] ~= SENTINEL then ids[#ids + 1] = page[2][i] end
end
local holder = session_id .. ':'
local found = #ids > 0 and redis.call('HMGET', leases, unpack(ids)) or {}
local dead = {}
for i, id in ipairs(ids) do
  if found[i] and string.sub(found[i], 1, #holder) == holder then
    dead[#dead + 1] = 0
    dead[#dead + 1] = id
  end
end
pass_memory_check()
-- The lanes first: a claim that came between two pages could be of a page that was looked at.
for _, lane in ipairs(lanes) do redis.call('HSET', session, lane, '9007199254740992   0|') end
redis.call('HSET', session, 'left', '1')
redis.call('EXPIRE', session, 600)
redis.call('ZREM', sessions, session_id)
if #dead > 0 then redis.call('ZADD', active, 'XX', unpack(dead)) end
return {cursor = page[1], expired = #dead / 2}
