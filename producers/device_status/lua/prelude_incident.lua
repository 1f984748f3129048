-- Shared by every script of the ledger, before prelude.lua: how commands belong to incidents. Counters move
-- in the script that moves the command, so they can't drift.
-- Times are milliseconds since 1970 on this server's clock.
local PREFIX = 'device-status:'
local INCIDENT_PARTS = {'', ':devices', ':letters', ':users', ':working', ':outcomes', ':timeline', ':verify',
  ':verifying', ':verification', ':findings', ':new', ':unverified', ':pass'}
local TIMELINE_BUCKET = 10000  -- Milliseconds.
local PLAN_LIFE = 86400  -- Seconds.
local FENCE_EXTRA = 600000  -- Milliseconds that a fence outlives the retention: clocks may run ahead by half of it.
local LONGEST = 60000  -- Milliseconds: a lease (LEASE in ledger.py). No wait for a retry and no doubt is longer.
local DEVICE_LIFE = 86400000  -- Milliseconds that a device's lease and doubts are kept: an expiry comes early by a step.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A time limit is kept on two clocks, since each may step: this server's in the field `name`, and in `<name>_own` that of
-- the worker that set it. Workers' clocks agree with each other: AWS refuses the requests of one that is minutes off.
local function set_limit(record, name, now, own, milliseconds)
  redis.call('HSET', record, name, now + milliseconds, name .. '_own', own + milliseconds)
end

-- What is left of a limit, in milliseconds: it is over when both clocks say so. A clock that says more than there can be
-- has stepped back: the limit is set anew by the other one, or if that stepped back as well, to the longest.
local function left(record, name, now, own)
  local limit = redis.call('HMGET', record, name, name .. '_own')
  if not limit[1] then
    return 0
  end
  local by_server, by_own = limit[1] - now, (limit[2] or limit[1]) - own
  local rest = math.max(by_server, by_own)
  if rest > LONGEST then
    rest = math.min(by_server, by_own, LONGEST)
    set_limit(record, name, now, own, rest)
  end
  return math.max(0, rest)
end

-- When something is issued that brings no time along: by the server's clock or, where that and the caller's are too far
-- apart, at the latest time that is not too far ahead of either.
local function issue_time(server, own, ahead)
  return math.abs(server - own) <= ahead and server or math.min(server, own) + ahead
end

-- The incident that an entry or a dead letter is part of, with its state; nil where there is none, or only a later
-- one of the same id: an incident that was forgotten and opened again has another `life`. What a command itself
-- says of an incident is the sender's word and counts for nothing.
local function incident_of(record)
  local known = redis.call('HMGET', record, 'incident', 'life')
  if not known[1] or known[1] == '' then
    return nil
  end
  local incident = redis.call('HMGET', PREFIX .. 'incident:' .. known[1], 'life', 'state')
  return incident[1] and incident[1] == known[2] and {id = known[1], life = known[2], state = incident[2]} or nil
end

-- The age of what was tried first at `first`, and at `first_own` on the clock of who tried it, in milliseconds; by the
-- clock that says less. While its incident was paused it could not be tried, so it counts from when that was resumed.
local function age_since(first, first_own, id, now, own)
  local resumed_at = id and redis.call('HGET', PREFIX .. 'incident:' .. id, 'resumed_at')
  return math.max(0, math.min(now - math.max(first, tonumber(resumed_at or 0)), own - (first_own or first)))
end

-- What a verification found, or is finding, is forgotten.
local function forget_verification(id)
  local incident = PREFIX .. 'incident:' .. id
  redis.call('DEL', incident .. ':verification', incident .. ':findings', incident .. ':new', incident .. ':verify',
    incident .. ':verifying', incident .. ':unverified')
end

-- There is work (again), so the incident has not ended and is not forgotten, and how it was verified says nothing any
-- more.
local function keep_open(id)
  if redis.call('HDEL', PREFIX .. 'incident:' .. id, 'ended_at') == 1 then
    redis.call('ZREM', PREFIX .. 'incidents:ended', id)
    forget_verification(id)
  end
end

-- It has ended, and from now on stays for the retention, with all that its report tells: nothing of it has an expiry of
-- its own, forget.lua takes it away as a whole. A plan (expire_plan) is not evidence.
local function keep_for_retention(id, now)
  local known = redis.call('HMGET', PREFIX .. 'incident:' .. id, 'ended_at', 'retention', 'counts_only')
  if known[1] and not known[3] then
    redis.call('ZADD', PREFIX .. 'incidents:ended', now + known[2], id)
  end
end

-- It ends when its input is complete and no user and no command of it is without an outcome.
local function end_if_done(id, now)
  local incident = PREFIX .. 'incident:' .. id
  local known = redis.call('HMGET', incident, 'sealed', 'users_open', 'open', 'ended_at', 'counts_only')
  if known[1] ~= '1' or tonumber(known[2]) > 0 or tonumber(known[3]) > 0 or known[4] then
    return
  end
  redis.call('HSET', incident, 'ended_at', now)
  keep_for_retention(id, now)
  if not known[5] then
    redis.call('HINCRBY', incident, 'times_ended', 1)
    redis.call('ZADD', PREFIX .. 'webhooks', now, id)  -- Where no webhook is set, it goes with the incident.
  end
end

-- A new entry becomes part of an incident and keeps it open. It counts as one of its devices only in members.lua.
local function join_incident(entry, id, life)
  redis.call('HSET', entry, 'incident', id, 'life', life)
  redis.call('HINCRBY', PREFIX .. 'incident:' .. id, 'open', 1)
  keep_open(id)
end

-- An entry of an incident has its outcome; a repair (see late.lua) counts as nothing.
local function tell_incident(entry, id, outcome, now)
  local incident = PREFIX .. 'incident:' .. id
  redis.call('HINCRBY', incident, 'open', -1)
  if redis.call('HEXISTS', entry, 'repair') == 0 then
    redis.call('HINCRBY', incident, outcome, 1)
    redis.call('HINCRBY', incident .. ':timeline', math.floor(now / TIMELINE_BUCKET) * TIMELINE_BUCKET / 1000, 1)
  end
  end_if_done(id, now)
end

-- The requests of its Region are paused: until then the listings of other incidents come first.
local function rest_while_paused(incident, error_code, due)
  if string.find(error_code, 'GatePaused', 1, true) == 1 then redis.call('HSET', incident, 'resting_until', due) end
end

-- A plan is not kept for an asker who has gone.
local function expire_plan(incident)
  if redis.call('HEXISTS', incident, 'counts_only') == 1 then
    for _, part in ipairs(INCIDENT_PARTS) do redis.call('EXPIRE', incident .. part, PLAN_LIFE) end
  end
end

-- A user's devices wait to be listed.
local function wait_for_listing(id, username, now)
  local incident = PREFIX .. 'incident:' .. id
  redis.call('ZADD', incident .. ':users', now, username)
  redis.call('HINCRBY', incident, 'users_open', 1)
  redis.call('ZADD', PREFIX .. 'incidents:active', redis.call('HGET', incident, 'rank'), id)
  keep_open(id)
end

-- Some users of an incident, those that are new to it; returns how many those are. A `given` user's devices are
-- known: they are not listed.
local function add_users(id, usernames, first, given, now)
  local incident = PREFIX .. 'incident:' .. id
  local added = 0
  for i = first, #usernames do
    local username = usernames[i]
    local outcome = redis.call('HGET', incident .. ':outcomes', username)
    local is_new = not outcome and not redis.call('ZSCORE', incident .. ':users', username)
    if given and is_new then
      redis.call('HSET', incident .. ':outcomes', username, cjson.encode({outcome = 'given', at = now}))
    elseif not given and (is_new or outcome and cjson.decode(outcome).outcome == 'given') then
      redis.call('HDEL', incident .. ':outcomes', username)
      wait_for_listing(id, username, now)
    end
    if is_new then added = added + 1 end
  end
  redis.call('HINCRBY', incident, 'users', added)
  if not given then redis.call('HSET', incident, 'only_given', 0) end
  expire_plan(incident)
  return added
end

-- A user of an incident has an outcome: a table with what the report says of it.
local function finish_user(id, username, outcome, now)
  local incident = PREFIX .. 'incident:' .. id
  redis.call('ZREM', incident .. ':users', username)
  redis.call('HDEL', incident .. ':working', username)
  outcome.at = now
  redis.call('HSET', incident .. ':outcomes', username, cjson.encode(outcome))
  redis.call('HINCRBY', incident, 'users_open', -1)
  redis.call('HINCRBY', incident, 'users_' .. outcome.outcome, 1)
  expire_plan(incident)
end

-- A verification ends when every user's devices were listed again; what was not listed is gone, unless its user
-- could not be listed.
local function end_verification_if_done(id, now)
  local incident = PREFIX .. 'incident:' .. id
  local known = redis.call('HMGET', incident .. ':verification', 'sealed', 'users_open', 'ended_at', 'seen', 'unseen')
  if known[1] == '1' and tonumber(known[2]) == 0 and not known[3] then
    redis.call('HSET', incident .. ':verification', 'ended_at', now,
      'gone', math.max(0, redis.call('HGET', incident, 'devices') - known[4] - (known[5] or 0)))
  end
end
