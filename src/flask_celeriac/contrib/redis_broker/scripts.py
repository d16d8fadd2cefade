"""What Redis does in one step: the scripts, and the keys they work on.

Queues, ``unacked`` and ``unacked_index`` are kombu's. Ours all begin with ``celeriac.``:

=========================  ======================================================================
``celeriac.workers``       sorted set: a process that claims, and until when it is taken to live
``celeriac.claims.ID``     hash: the tag of each message it has, and the list that was popped from
``celeriac.idle.QUEUE``    set: the bells of consumers that found the queue empty
=========================  ======================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Tags in one call of a script: Lua takes some thousand arguments.
CHUNK = 500
#: Seconds an idle consumer is rung for unless it looks again: one that died leaves nothing behind.
IDLE = 60

_NOW = """
local function clock()
  local time = redis.call('TIME')
  return time[1] + time[2] / 1000000
end
"""

_RING = """
local function ring(idle, bell, count)
  while count > 0 do
    local who = redis.call('SPOP', idle)
    if not who then return end
    if redis.call('PUBLISH', bell .. who, '') > 0 then count = count - 1 end
  end
end
"""

#: KEYS: list, idle, and the lists that expire. ARGV: message, bell, milliseconds or 0.
_PUT = (
    _RING
    + """
redis.call('LPUSH', KEYS[1], ARGV[1])
for i = 3, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[3]) end
ring(KEYS[2], ARGV[2], 1)
"""
)

#: KEYS: idle sets. ARGV: bell, and how many to wake for each.
_WAKE = (
    _RING
    + """
for i = 1, #KEYS do ring(KEYS[i], ARGV[1], tonumber(ARGV[i + 1])) end
"""
)

#: KEYS: unacked, index, claims. ARGV: tags.
_ACK = """
redis.call('HDEL', KEYS[1], unpack(ARGV))
redis.call('ZREM', KEYS[2], unpack(ARGV))
redis.call('HDEL', KEYS[3], unpack(ARGV))
"""

#: KEYS: unacked, index, claims, workers, lists by priority and then by queue, idle sets by queue.
#: ARGV: process or '', bell or '', limit, prefix and first number of the tags, queues, their flags
#: ('1' where nothing is acknowledged), acks, tags to acknowledge, the end of each queue's booking.
#: Returns whether the process is taken to live; then tag and booking of each message. Called again
#: after its answer was lost, it returns what it booked then. What Redis refuses for one list, whose
#: key may be another program's, is the answer only where nothing was taken from the others.
_CLAIM = (
    _NOW
    + """
local unacked, index, claims = KEYS[1], KEYS[2], KEYS[3]
local me, bell, limit, prefix = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local number, queues, acks = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[8])
if acks > 0 then
  redis.call('HDEL', unacked, unpack(ARGV, 9, 8 + acks))
  redis.call('ZREM', index, unpack(ARGV, 9, 8 + acks))
  redis.call('HDEL', claims, unpack(ARGV, 9, 8 + acks))
end
if limit == 0 then return {1} end
local now = clock()
local got = {1}
if me ~= '' then
  local lease = redis.call('ZSCORE', KEYS[4], me)
  if not lease or tonumber(lease) < now then return {0} end
  while redis.call('HEXISTS', claims, prefix .. number) == 1 do
    local booking = redis.call('HGET', unacked, prefix .. number)
    if booking then
      got[#got + 1] = prefix .. number
      got[#got + 1] = booking
    end
    number, limit = number + 1, limit - 1
  end
end
local lists = #KEYS - 4 - queues
local bookings, scores, places, refused = {}, {}, {}, nil
for i = 1, lists do
  if limit <= 0 then break end
  local queue = (i - 1) % queues + 1
  local items = redis.pcall('RPOP', KEYS[4 + i], limit)
  if items and items.err then refused, items = items, nil end
  for _, item in ipairs(items or {}) do
    local tag, booking = '', '[' .. item .. ARGV[8 + acks + queue]
    if string.sub(ARGV[7], queue, queue) == '0' then
      tag, number = prefix .. number, number + 1
      bookings[#bookings + 1] = tag
      bookings[#bookings + 1] = booking
      scores[#scores + 1] = now
      scores[#scores + 1] = tag
      places[#places + 1] = tag
      places[#places + 1] = KEYS[4 + i]
    end
    got[#got + 1] = tag
    got[#got + 1] = booking
    limit = limit - 1
  end
end
if #places > 0 then
  redis.call('HSET', unacked, unpack(bookings))
  redis.call('ZADD', index, unpack(scores))
  redis.call('HSET', claims, unpack(places))
end
if bell ~= '' then
  for i = 5 + lists, #KEYS do
    if limit <= 0 then
      redis.call('SREM', KEYS[i], bell)
    else
      redis.pcall('SADD', KEYS[i], bell)
      redis.call('EXPIRE', KEYS[i], IDLE)
    end
  end
end
if refused and #got == 1 then return refused end
return got
""".replace("IDLE", str(IDLE))
)

#: KEYS: unacked, index, claims, workers, then list and idle set of each message. ARGV: the process
#: that is taken to be dead or '', bell, then tag and text of each message. The last one ends up
#: at the head. Returns how many were put back, or -1 if the process lives after all. What cannot be
#: put back stays booked, and why is the answer.
_RESTORE = (
    _NOW
    + _RING
    + """
local unacked, index, claims, workers, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]
if dead ~= '' then
  local lease = redis.call('ZSCORE', workers, dead)
  if lease and tonumber(lease) >= clock() then return -1 end
end
local count, refused = 0, nil
for i = 0, (#KEYS - 4) / 2 - 1 do
  local tag = ARGV[3 + 2 * i]
  local put = redis.call('HEXISTS', unacked, tag)
  if put == 1 then put = redis.pcall('RPUSH', KEYS[5 + 2 * i], ARGV[4 + 2 * i]) end
  if type(put) == 'table' then
    refused = put
  else
    if redis.call('HDEL', unacked, tag) == 1 then
      redis.call('ZREM', index, tag)
      ring(KEYS[6 + 2 * i], ARGV[2], 1)
      count = count + 1
    end
    redis.call('HDEL', claims, tag)
  end
end
if refused then return refused end
if dead ~= '' and redis.call('EXISTS', claims) == 0 then redis.call('ZREM', workers, dead) end
return count
"""
)

#: KEYS: workers, index, claims. ARGV: process, seconds, whether to renew its bookings too.
#: Returns whether it was still taken to live, and who is not any more.
_RENEW = (
    _NOW
    + """
local now = clock()
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
if ARGV[3] == '1' then
  local scores = {}
  for _, tag in ipairs(redis.call('HKEYS', KEYS[3])) do
    scores[#scores + 1] = now
    scores[#scores + 1] = tag
    if #scores == 1000 then
      redis.call('ZADD', KEYS[2], 'XX', unpack(scores))
      scores = {}
    end
  end
  if #scores > 0 then redis.call('ZADD', KEYS[2], 'XX', unpack(scores)) end
end
local answer = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
table.insert(answer, 1, (lease and tonumber(lease) >= now) and 1 or 0)
return answer
"""
)

#: KEYS: workers, claims. ARGV: process. What it still has is for others to give back.
_LEAVE = """
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('ZREM', KEYS[1], ARGV[1]) end
"""


@dataclass(frozen=True)
class Keys:
    """The names of a broker's keys, whole: redis-py is not asked to put a prefix before them."""

    prefix: str
    unacked: str
    index: str
    sep: str

    @property
    def workers(self) -> str:
        """Who claims, and until when each is taken to live."""
        return f"{self.prefix}celeriac.workers"

    @property
    def bell(self) -> str:
        """What the channel begins with on which a consumer is woken."""
        return f"{self.prefix}celeriac.bell."

    def claims(self, member: str) -> str:
        """What a process has claimed."""
        return f"{self.prefix}celeriac.claims.{member}"

    def idle(self, queue: str) -> str:
        """Who waits for a message in a queue."""
        return f"{self.prefix}celeriac.idle.{queue}"

    def unreadable(self, queue: str) -> str:
        """Where what is no message is kept."""
        return f"{self.prefix}celeriac.unreadable.{queue}"

    def queue_of(self, place: str) -> str:
        """The queue that a list belongs to."""
        return place[len(self.prefix) :].partition(self.sep)[0]


class Scripts:
    """The scripts, with a client to run them."""

    def __init__(self, client: Any) -> None:
        self.client = client
        register = client.register_script
        self.put: Any = register(_PUT)
        self.wake: Any = register(_WAKE)
        self.ack: Any = register(_ACK)
        self.claim: Any = register(_CLAIM)
        self.restore: Any = register(_RESTORE)
        self.renew: Any = register(_RENEW)
        self.leave: Any = register(_LEAVE)


#: For pipelines, in which a script that Redis does not know yet would fail.
WAKE = _WAKE
