"""How checkpoints become visible and are deleted, each in one step on the server, by Lua."""

from __future__ import annotations

# The keys that a manifest names: its chunks, and its thumbnails, which generations share. A corrupt one names none.
_KEYS = """
local function keys_of(manifest, prefix)
    local found, is_read, facts = {}, pcall(cjson.decode, manifest)
    local chunks = is_read and type(facts) == 'table' and type(facts.chunks) == 'table' and facts.chunks or {}
    local pictures = is_read and type(facts) == 'table' and type(facts.pictures) == 'table' and facts.pictures or {}
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

# Deletes the keys that only outdated manifests name. The server does it, not the client: when the answer to a commit is
# lost, the client does not know of them.
_DROP = (
    _KEYS
    + """
local function drop(outdated, needed, prefix)
    local is_needed = {}
    for _, key in ipairs(needed) do
        is_needed[key] = true
    end
    for _, manifest in ipairs(outdated) do
        for _, key in ipairs(keys_of(manifest, prefix)) do
            if not is_needed[key] then
                redis.call('UNLINK', key)
            end
        end
    end
end
"""
)

_REQUIRE_OWNER = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[2] then
    return {'owner', redis.call('HGET', KEYS[1], 'incarnation') or ''}
end
"""

# -> {'committed', ''}, {'owner', incarnation of the owner} for a stale owner, or {'lost', the missing key}.
# KEYS: the owner's hash, the list of manifests. ARGV: epoch and incarnation of the writer, its manifest, the number of
# generations, the prefix of the camera's keys, the manifest to replace (see checkpoint_upload.Commit), then the keys
# that were written for this manifest; the other keys that it names do not expire. The client may send a commit again
# when no answer came. A manifest that is there already is not added twice, or dropping the one would break the other.
# EXISTS takes many keys at a time, because each call costs much.
COMMIT = (
    _DROP
    + """
local function first_missing(keys)
    for first = 1, #keys, 1000 do
        local last = math.min(first + 999, #keys)
        if redis.call('EXISTS', unpack(keys, first, last)) <= last - first then
            for index = first, last do
                if redis.call('EXISTS', keys[index]) == 0 then
                    return keys[index]
                end
            end
        end
    end
    return nil
end
"""
    + _REQUIRE_OWNER
    + """
local needed = keys_of(ARGV[3], ARGV[5])
local missing = first_missing(needed)
if missing then
    return {'lost', missing}
end
local newest = redis.call('LINDEX', KEYS[2], 0)
if newest == ARGV[3] then
    return {'committed', ''}
end
for index = 7, #ARGV do
    redis.call('PERSIST', ARGV[index])
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
if #outdated > 0 then
    for _, older in ipairs(redis.call('LRANGE', KEYS[2], 1, -1)) do
        for _, key in ipairs(keys_of(older, ARGV[5])) do
            needed[#needed + 1] = key
        end
    end
    drop(outdated, needed, ARGV[5])
end
return {'committed', ''}
"""
)

# Deletes the keys that no commit made permanent.
DROP_UNCOMMITTED = """
for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) > 0 then
        redis.call('UNLINK', key)
    end
end
"""

# Deletes all manifests of a camera and the keys that they name. -> as COMMIT, {'deleted', ''} where it is done.
# KEYS: the owner's hash, the list of manifests. ARGV: epoch and incarnation of the owner, the prefix of the camera's
# keys. The chunks of a save that comes late expire: its commit is refused.
DELETE = (
    _DROP
    + _REQUIRE_OWNER
    + """
local outdated = redis.call('LRANGE', KEYS[2], 0, -1)
redis.call('DEL', KEYS[2])
drop(outdated, {}, ARGV[3])
return {'deleted', ''}
"""
)
