--- One job as it stands.
--- @arg job_id   text
--- @use describe
local state = place_of(job_id)
return state and describe({job_id}, state) or {}
