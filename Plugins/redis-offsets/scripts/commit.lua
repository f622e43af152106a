-- Compare and set, all of a batch or nothing. KEYS: the group's hash, the tenant's index of groups.
-- ARGV: group, member epoch, then for each offset: field, offset, leader epoch, committed_ms, metadata.
-- 1: stored; 0: refused by the fence. Numbers of 64 bits are compared as text: Lua's have 53.
local epoch = tonumber(ARGV[2])
if epoch > 0 then
  for i = 3, #ARGV, 5 do
    local stored = redis.call('HGET', KEYS[1], ARGV[i])
    if stored then
      local held, at = string.match(stored, '^(%d+) (%d+) ')
      if not held then return redis.error_reply('SKEINBAD the value of ' .. ARGV[i] .. ' is none of ours') end
      local offset = ARGV[i + 1]
      local is_further = #at > #offset or (#at == #offset and at > offset)
      if tonumber(held) > epoch or (tonumber(held) == epoch and is_further) then return 0 end
    end
  end
end
-- The index first: where that is refused, nothing has been written.
redis.call('ZADD', KEYS[2], 0, ARGV[1])
for i = 3, #ARGV, 5 do
  redis.call('HSET', KEYS[1], ARGV[i], table.concat({ARGV[2], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]}, ' '))
end
return 1
