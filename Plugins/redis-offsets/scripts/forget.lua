-- Takes a group without offsets out of the index. KEYS: the group's hash, the tenant's index of groups. ARGV: group.
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
return 1
