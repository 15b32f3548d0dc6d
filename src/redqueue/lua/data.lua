--- The stored bytes of one job.
--- @family job
--- @arg job_id   text
--- @use place
--- @reply envelope
return {envelope = not is_over(job_id) and redis.call('GET', job .. job_id)}
