--- Lines that a job's runs logged, the oldest first.
--- @family log
--- @arg job_id   text
--- @arg start    int
--- @arg count    int, at most 1,000
--- @reply lines
return {lines = redis.call('LRANGE', log .. job_id, start, start + count - 1)}
