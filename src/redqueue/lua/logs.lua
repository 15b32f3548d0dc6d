--- Lines that a job's runs logged, the oldest first.
--- @key log      list: the job's lines
--- @arg start    int
--- @arg count    int, at most 1,000
--- @reply lines
return {lines = redis.call('LRANGE', log, start, start + count - 1)}
