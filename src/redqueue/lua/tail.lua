--- What happened after an event.
--- @arg since    text: its id, or empty to ask for the newest id only
--- @arg known    int: 1 when it was read or written once, so that its absence is a gap; 0 for a point in time
--- @arg within   int: 1 when that entry itself is wanted, too
--- @arg count    int, at most 500
--- @use events
--- @reply newest its id, 0-0 when there is none
--- @reply gap    1 when events after `since` may be gone
--- @reply entries
local newest = newest_event()
if since == '' then return {newest = newest, gap = 0, entries = {}} end
local entries = redis.call('XRANGE', events, since, '+', 'COUNT', count + 1)
local found = entries[1] and entries[1][1] == since
if found and known == 1 and within == 0 then table.remove(entries, 1) end
if #entries > count then table.remove(entries) end
return {newest = newest, gap = known == 1 and not found and 1 or 0, entries = entries}
