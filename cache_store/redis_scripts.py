"""How checkpoints become visible and go, each in one step on the server, by Lua."""

from __future__ import annotations

# What a manifest names: its chunks, and its pictures, which it shares with others. A broken one names nothing.
_KEYS = """
local function keys_of(manifest, prefix)
    local found, is_read, told = {}, pcall(cjson.decode, manifest)
    local chunks = is_read and type(told) == 'table' and type(told.chunks) == 'table' and told.chunks or {}
    local pictures = is_read and type(told) == 'table' and type(told.pictures) == 'table' and told.pictures or {}
    for _, chunk in ipairs(chunks) do
        if type(chunk) == 'table' and type(chunk.key) == 'string' and chunk.key:sub(1, #prefix) == prefix then
            found[#found + 1] = chunk.key
        end
    end
    for _, picture in ipairs(pictures) do
        if type(picture) == 'table' and type(picture.sha256) == 'string' then
            found[#found + 1] = prefix .. ':picture:' .. picture.sha256
        end
    end
    return found
end
"""

# Deletes what the outdated manifests alone name. Here and not by the client: when its word of a commit is lost,
# nobody would know of them any more.
_DROP = (
    _KEYS
    + """
local function drop(outdated, kept, prefix)
    local needed = {}
    for _, manifest in ipairs(kept) do
        for _, key in ipairs(keys_of(manifest, prefix)) do
            needed[key] = true
        end
    end
    for _, manifest in ipairs(outdated) do
        for _, key in ipairs(keys_of(manifest, prefix)) do
            if not needed[key] then
                redis.call('UNLINK', key)
            end
        end
    end
end
"""
)

# What came of it, and whose the camera is or which key is gone. The client may send it again when no answer came: a
# generation that is there already is not added twice, or dropping the one would break the other. The newest manifest
# is replaced, not followed, if it is ARGV[6].
COMMIT = (
    _DROP
    + """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[2] then
    return {'owner', redis.call('HGET', KEYS[1], 'incarnation') or ''}
end
local named = keys_of(ARGV[3], ARGV[5])
for _, key in ipairs(named) do
    if redis.call('EXISTS', key) == 0 then
        return {'lost', key}
    end
end
local newest = redis.call('LINDEX', KEYS[2], 0)
if newest == ARGV[3] then
    return {'committed', ''}
end
for _, key in ipairs(named) do
    redis.call('PERSIST', key)
end
if newest == ARGV[6] then
    redis.call('LTRIM', KEYS[2], 1, -1)
end
redis.call('LPUSH', KEYS[2], ARGV[3])
local outdated = redis.call('LRANGE', KEYS[2], ARGV[4], -1)
redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)
if newest == ARGV[6] then
    outdated[#outdated + 1] = newest
end
drop(outdated, redis.call('LRANGE', KEYS[2], 0, -1), ARGV[5])
return {'committed', ''}
"""
)

DROP_UNCOMMITTED = """
for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) > 0 then
        redis.call('UNLINK', key)
    end
end
"""

DELETE = (
    _DROP
    + """
local outdated = redis.call('LRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
drop(outdated, {}, ARGV[1])
"""
)
