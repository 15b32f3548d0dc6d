--- Two members that are no jobs. Short zsets and hashes are stored as lists that each write walks; one member longer
--- than 64 bytes makes them trees for good (twice the throughput with 50 to 100 active jobs, measured).
--- @key active   zset: id -> lease deadline
-- No job can have this id: it has spaces.
local SENTINEL = 'redqueue sentinel, not a job: it keeps this key out of its compact form'
-- Beyond every deadline: ranges end before it.
local LAST_DEADLINE = '(+inf'
