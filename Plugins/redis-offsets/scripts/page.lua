-- A page of offsets in the order of group and field. KEYS: the tenant's index of groups.
-- ARGV: what a hash's name begins with, group and field to go on behind (empty: from the beginning), most offsets
-- (0: no limit), most bytes, '1': that group alone.
-- Group, field, value, …; one more element: there is more.
local from, after, most, bytes = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local out, count, size = {}, 0, 0
local least = from == '' and '-' or '[' .. from
while true do
  local groups = {from}
  if ARGV[6] ~= '1' then groups = redis.call('ZRANGEBYLEX', KEYS[1], least, '+', 'LIMIT', 0, 100) end
  if #groups == 0 then return out end
  for _, group in ipairs(groups) do
    local all = redis.call('HGETALL', ARGV[1] .. group)
    local fields, values = {}, {}
    for i = 1, #all, 2 do
      if group ~= from or all[i] > after then
        fields[#fields + 1] = all[i]
        values[all[i]] = all[i + 1]
      end
    end
    table.sort(fields)
    for _, field in ipairs(fields) do
      size = size + #group + #values[field] + 150
      if (most > 0 and count == most) or (size > bytes and count > 0) then
        out[#out + 1] = 'more'
        return out
      end
      out[#out + 1] = group
      out[#out + 1] = field
      out[#out + 1] = values[field]
      count = count + 1
    end
  end
  if ARGV[6] == '1' then return out end
  least = '(' .. groups[#groups]
end
