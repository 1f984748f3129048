-- Shared by the scripts of the gate: gate.py puts it in front of each.
-- The server's clock may step back. A time that lies further ahead than it could have been written a moment ago was
-- written before, and is taken back. Changes are collected, and write_gate writes them in one call.
-- KEYS of reserve.lua and report.lua: 1 gate:<target>:<category>
-- ARGV of both: 1 the asker's quota (requests a second), 2 part of a quota that turns leave unused, 3 microseconds to
--       grow back from nothing to the ceiling, 4 probe rate (requests a second), 5 microseconds that a pause lasts
local SECOND, MINUTE, DAY = 1000000, 60000000, 86400  -- The last in seconds, as EXPIRE takes it.

local function now_us()
  local time = redis.call('TIME')
  return time[1] * SECOND + time[2]
end

-- Lua would print a number this large in the form 1.7e+15.
local function as_text(number)
  return string.format('%.0f', number)
end

local function change(gate, field, value)
  gate.changes[#gate.changes + 1] = field
  gate.changes[#gate.changes + 1] = value
end

local function write_gate(gate)
  if #gate.changes > 0 then
    redis.call('HSET', KEYS[1], unpack(gate.changes))
    redis.call('EXPIRE', KEYS[1], DAY)
  end
end

local function reserve_next(gate, now)
  change(gate, 'next', as_text(gate.next))
  change(gate, 'reserved_at', as_text(now))
end

-- The lowest of the quotas that workers asked with in the last minute. `list` has each once, as quota@microseconds;
-- returns also what it must become, or false. The asker's own is renewed once a second.
local function lowest_quota(list, mine, now)
  local lowest, others, renew = mine, '', true
  for quota, at in string.gmatch(list or '', '(%S+)@(%d+)') do
    local age = now - at
    if tonumber(quota) == mine then
      renew = age < 0 or age >= SECOND
    elseif age < MINUTE then
      lowest = math.min(lowest, quota)
      others = others .. ' ' .. quota .. '@' .. as_text(math.min(at, now))
    end
  end
  return lowest, renew and ARGV[1] .. '@' .. as_text(now) .. others
end

-- Returns the state: quota and ceiling (the lowest that holds), slowest (rate), next (turn), rate (before faults),
-- rate_at, faults, paused_until, why, behind and seen (see reserve.lua).
local function read_gate(now)
  local headroom, recovery, probe = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
  local pause = tonumber(ARGV[5])
  local known = redis.call('HMGET', KEYS[1], 'next', 'rate', 'rate_at', 'faults', 'paused_until', 'why', 'quotas',
    'behind', 'seen', 'reserved_at')
  local gate = {changes = {}, faults = tonumber(known[4]) or 0, why = known[6] or '', behind = tonumber(known[8]) or 0,
    seen = tonumber(known[9]) or 0}

  local quotas
  gate.quota, quotas = lowest_quota(known[7], tonumber(ARGV[1]), now)
  if quotas then change(gate, 'quotas', quotas) end
  gate.ceiling = gate.quota * (1 - headroom)
  gate.slowest = math.min(probe, gate.ceiling)

  gate.next = tonumber(known[1]) or 0
  local ahead = (tonumber(known[10]) or 0) - now
  if ahead > 0 then
    -- The next turn is as far from now as it was from the last reservation.
    gate.next = gate.next - ahead
    reserve_next(gate, now)
  end

  gate.paused_until = tonumber(known[5]) or 0
  if gate.paused_until > now + pause then
    gate.paused_until = now + pause
    change(gate, 'paused_until', as_text(gate.paused_until))
  end

  gate.rate, gate.rate_at = gate.ceiling, tonumber(known[3])
  if gate.rate_at then
    if gate.rate_at > now then
      gate.rate_at = now
      change(gate, 'rate_at', as_text(now))
    end
    gate.rate = math.min(gate.ceiling, known[2] + gate.ceiling * (now - gate.rate_at) / recovery)
  end
  return gate
end
