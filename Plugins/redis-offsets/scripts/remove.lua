-- Forgets offsets. KEYS: the group's hash, the tenant's index of groups. ARGV: group, fields (none: all of them).
if #ARGV == 1 then redis.call('DEL', KEYS[1]) end
for i = 2, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
return 1
