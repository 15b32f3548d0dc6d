--- What is known of a job without its data.
--- @family job
local function head_of(id)
  -- The envelope's first line, which 8 KiB always hold; the data behind it may be a megabyte.
  return string.match(redis.call('GETRANGE', job .. id, 0, 8191), '^[^\n]*')
end
