-- Compare and set, all of a batch or nothing. KEYS: the group's hash, the tenant's index of groups.
-- ARGV: group, member epoch, then for each offset: field, offset, leader epoch, committed_ms, metadata.
-- 1: stored; 0: refused by the fence; -1: the group must be in the index first.
-- Numbers of 64 bits are compared as text: Lua's have 53.
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return -1 end
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
-- One write, so that the append-only file has no transaction: where the user `default` has no rights, Redis without the fix of
-- redis#14541 (7.0 in Debian 12) drops transactions when it reads that file. Lua takes 8,000 arguments: a larger batch needs more writes.
local words = {}
for i = 3, #ARGV, 5 do
  words[#words + 1] = ARGV[i]
  words[#words + 1] = table.concat({ARGV[2], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]}, ' ')
  if #words >= 7000 then
    redis.call('HSET', KEYS[1], unpack(words))
    words = {}
  end
end
if #words > 0 then redis.call('HSET', KEYS[1], unpack(words)) end
return 1
