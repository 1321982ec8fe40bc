-- What happens to a body on its way: edits of the request that the decision computed, and the end of a stream without
-- the usage event that only we asked for. This is all the code that Envoy runs; no resource ever contributes any.

-- A call runs this once, in a coroutine of its own: traces are begun, given up and begun again, and never pay.
jit.off()

local DECISION = "envoy.filters.http.ext_authz"
-- A usage event is small. What grows over this is none, and is not kept back any longer.
local LONGEST_HELD = 16384

local function decision(handle)
  return handle:streamInfo():dynamicMetadata():get(DECISION)
end

-- Replace bytes at offsets. The offsets are those of the body that the decision read, which is this one. `edits` says
-- one after the other: "OFFSET LENGTH SIZE:" and SIZE bytes of text to stand in the place of LENGTH bytes at OFFSET.
local function splice(body, edits)
  local out, position, size, at = {}, 0, body:length(), 1
  while at <= #edits do
    local offset, length, text_size, text_at = edits:match("^(%d+) (%d+) (%d+):()", at)
    if offset == nil then error("an edit that cannot be read") end
    offset, length, at = tonumber(offset), tonumber(length), text_at + tonumber(text_size)
    if offset < position or offset + length > size or at > #edits + 1 then
      error("an edit outside of the body")
    end
    if offset > position then
      out[#out + 1] = body:getBytes(position, offset - position)
    end
    out[#out + 1] = edits:sub(text_at, at - 1)
    position = offset + length
  end
  if position < size then
    out[#out + 1] = body:getBytes(position, size - position)
  end
  body:setBytes(table.concat(out))
end

function envoy_on_request(handle)
  local decided = decision(handle)
  if decided == nil or decided["edits"] == nil then return end
  local body = handle:body()
  local done, problem = pcall(splice, body, decided["edits"])
  if not done then
    -- An error would let the body pass unedited, that is beyond its budget.
    handle:logErr("body edits failed: " .. tostring(problem))
    handle:respond({[":status"] = "500"}, "")
  end
end

-- "choices":[] and a usage object, in a JSON text. Inside a JSON string the quotes would be escaped, so that neither
-- pattern can match there; more than one "choices" is not what we know and is left alone.
local function is_usage_only(event)
  local _, choices = event:gsub('"choices"%s*:', "")
  return choices == 1
    and event:find('"choices"%s*:%s*%[%s*%]') ~= nil
    and event:find('"usage"%s*:%s*{') ~= nil
end

-- How many lines a run of CR and LF ends.
local function endings(run)
  return #(run:gsub("\r\n", "\n"))
end

-- Where the event that begins at `from` ends: behind its blank line, or nil. LF, CRLF and CR all end lines.
local function event_end(text, from)
  local first, last = text:find("[\r\n]+", from)
  while first ~= nil do
    if endings(text:sub(first, last)) >= 2 then return last end
    first, last = text:find("[\r\n]+", last + 1)
  end
  return nil
end

-- An event that has only begun: could it become the usage event? Everything else goes on at once.
local function may_become_usage(begun)
  if #begun > LONGEST_HELD then return false end
  local start = begun:gsub("^[\r\n]+", "")
  if #start < 5 then return ("data:"):sub(1, #start) == start end
  return start:find("^data:%s*$") ~= nil or start:find("^data:%s*{") ~= nil
end

-- Events as they arrive in any pieces. `held` is kept back; `passing` says that the beginning of the current event has
-- gone on already, and `newlines` with what line ends it stopped; `split`: the event that was taken out ended in a CR
-- whose LF may come with the next piece.
local Stream = {}
Stream.__index = Stream

function Stream.new()
  return setmetatable({held = "", passing = false, newlines = "", split = false}, Stream)
end

-- The rest of an event whose beginning has gone on. Returns what goes on, and what is left of `text`.
function Stream:continue(text)
  local seen = self.newlines .. text
  local last = event_end(seen, 1)
  if last == nil then
    self.newlines = seen:match("[\r\n]*$")
    return text, ""
  end
  self.passing, self.newlines = false, ""
  local used = last - (#seen - #text)
  return text:sub(1, used), text:sub(used + 1)
end

-- What of `text` goes on now.
function Stream:take(text)
  local out = {}
  if self.split and text:sub(1, 1) == "\n" then text = text:sub(2) end
  self.split = false
  if self.passing then
    out[1], text = self:continue(text)
  end
  text, self.held = self.held .. text, ""
  local from, last = 1, event_end(text, 1)
  while last ~= nil do
    local event = text:sub(from, last)
    self:pass(event, out)
    from = last + 1
    last = event_end(text, from)
  end
  self:begin(text:sub(from), out)
  return table.concat(out)
end

function Stream:pass(event, out)
  if not is_usage_only(event) then
    out[#out + 1] = event
    return
  end
  -- An LF in front is the other half of the CRLF that ended the event before.
  if event:sub(1, 1) == "\n" then out[#out + 1] = "\n" end
  self.split = event:sub(-1) == "\r"
end

function Stream:begin(begun, out)
  if begun == "" then return end
  if may_become_usage(begun) then
    self.held = begun
  else
    out[#out + 1] = begun
    self.passing, self.newlines = true, begun:match("[\r\n]*$")
  end
end

-- The stream ended inside of an event.
function Stream:finish()
  local rest = self.held
  self.held = ""
  return is_usage_only(rest) and "" or rest
end

function envoy_on_response(handle)
  -- Asked first: what was decided is dearer to look at, and most answers are no streams.
  local kind = handle:headers():get("content-type") or ""
  if kind:lower():find("^text/event%-stream") == nil then return end
  local decided = decision(handle)
  if decided == nil or decided["strip_usage"] ~= true then return end
  handle:headers():remove("content-length")
  local stream = Stream.new()
  for chunk in handle:bodyChunks() do
    local size = chunk:length()
    -- Envoy ends a stream by an empty chunk.
    local text = size > 0 and stream:take(chunk:getBytes(0, size)) or stream:finish()
    chunk:setBytes(text)
  end
end
