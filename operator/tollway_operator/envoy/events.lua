-- What a provider's stream must not say to the filter that reads usage from it. That filter takes whatever JSON an event
-- carries for an object or a list: a lone word, number or text (`data: true`) ends this process, with every call in it
-- (Envoy 1.40). No provider says such a thing. Where one does, the line becomes a comment, which readers of event
-- streams skip; everything else goes on byte for byte.

-- A call runs this once, in a coroutine of its own: traces are begun, given up and begun again, and never pay.
jit.off()

-- How the text of an event begins that is JSON but no object and no list, and what may stand in front of it: white space
-- and a byte order mark.
local SCALAR = '["%-0-9tfn]'
local BLANK = "[ \t\239\187\191]*"
local MARK = "\239\187\191"
-- The filter forgets an event that grows over this (`filters.py`), and takes what comes next for the beginning of one.
local LONGEST_EVENT = 1048576
-- What stands in front of a text is waited for no longer than this.
local LONGEST_HELD = 1024

-- What is known at some place of a stream. `held`: a line whose text has not begun yet; `passing`: the line was judged
-- and goes on; `begun`: the text of this event begins like an object or a list; `size`: what of it has gone on;
-- `returned`: the last byte was a CR, so that an LF behind it ends no further line.
local Stream = {}
Stream.__index = Stream

function Stream.new()
  return setmetatable({held = "", passing = false, begun = false, size = 0, returned = false}, Stream)
end

-- Nearly every piece: it ends an event, and has nothing in it that would have to be looked at.
function Stream:passes_whole(text)
  if self.held ~= "" or self.passing or text:sub(-2) ~= "\n\n" then return false end
  if text:find("data:" .. BLANK .. SCALAR) ~= nil then return false end
  self.begun, self.size, self.returned = false, 0, false
  return true
end

-- What of `text` goes on now.
function Stream:take(text)
  local out = {}
  text, self.held = self.held .. text, ""
  local at = 1
  while at <= #text do
    at = self.passing and self:pass(text, at, out) or self:judge(text, at, out)
  end
  if self.size > LONGEST_EVENT then
    self.passing, self.begun, self.size = false, false, 0
  end
  return table.concat(out)
end

function Stream:emit(text, out)
  out[#out + 1] = text
  self.size = self.size + #text
  self.returned = text:sub(-1) == "\r"
end

-- The rest of a line. Returns where the next begins.
function Stream:pass(text, at, out)
  local last = text:find("[\r\n]", at)
  self:emit(text:sub(at, last), out)
  if last == nil then return #text + 1 end
  self.passing = false
  return last + 1
end

-- The beginning of a line. Returns where to go on.
function Stream:judge(text, at, out)
  local first = text:sub(at, at)
  if first == "\r" or first == "\n" then
    local ends_event = first == "\r" or not self.returned
    self:emit(first, out)
    if ends_event then self.begun, self.size = false, 0 end
    return at + 1
  end
  local kind = self.begun and "harmless" or self:kind(text:sub(at, at + LONGEST_HELD))
  if kind == "undecided" then
    self.held = text:sub(at)
    return #text + 1
  end
  if kind == "scalar" then self:emit(":", out) end
  self.begun = self.begun or kind == "object"
  self.passing = true
  return at
end

-- What a line that begins like this does to its event: "undecided" until more of it is there.
function Stream:kind(line)
  local complete = #line > LONGEST_HELD
  local field = MARK .. "data:"
  if line:sub(1, 1) ~= "\239" then field = "data:" end
  if line:sub(1, #field) ~= field then
    return not complete and field:sub(1, #line) == line and "undecided" or "harmless"
  end
  local text = line:find("[^ \t\239\187\191]", #field + 1)
  if text == nil then return complete and "scalar" or "undecided" end
  local begins = line:sub(text, text)
  if begins:find(SCALAR) ~= nil then return "scalar" end
  return (begins == "{" or begins == "[") and "object" or "harmless"
end

function envoy_on_response(handle)
  local kind = handle:headers():get("content-type") or ""
  if kind:find("text/event-stream", 1, true) == nil then return end
  handle:headers():remove("content-length")
  local stream = Stream.new()
  for chunk in handle:bodyChunks() do
    local size = chunk:length()
    if size == 0 then
      -- Envoy ends a stream by an empty chunk.
      if stream.held ~= "" then chunk:setBytes(stream.held) end
    else
      local text = chunk:getBytes(0, size)
      if not stream:passes_whole(text) then chunk:setBytes(stream:take(text)) end
    end
  end
end
