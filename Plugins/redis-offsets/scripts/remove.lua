-- Forgets offsets. KEYS: the group's hash. ARGV: fields (none: all of them).
-- 1: done; 2: done, and the group has none left: `forget` comes next, a write of its own (see commit.lua).
if #ARGV == 0 then redis.call('DEL', KEYS[1]) end
for i = 1, #ARGV, 7000 do redis.call('HDEL', KEYS[1], unpack(ARGV, i, math.min(i + 6999, #ARGV))) end
return redis.call('EXISTS', KEYS[1]) == 0 and 2 or 1
