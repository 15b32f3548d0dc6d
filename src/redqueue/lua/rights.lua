--- Whether this user may do what a worker's scripts do. It changes nothing, and fails by the first missing right.
--- @family inbox
--- @use room rights
--- @reply state  ok
pass_memory_check()
need_rights(inbox .. 'rights')
return {state = 'ok'}
