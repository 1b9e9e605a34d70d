-- Runs a script of Argo CD as Argo CD does: `obj` is the object, and of `os` there is the clock only, which stands still here.
-- The object comes on standard input as JSON, and so goes the result out.

local cjson = require("cjson")

-- Argo CD drops what is null.
local function plain(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = {}
  for key, part in pairs(value) do
    if part ~= cjson.null then
      copy[key] = plain(part)
    end
  end
  return copy
end

local clock = {
  date = function(format)
    return os.date(format, 0)
  end,
}

local function load_module(name)
  assert(name == "os", name .. " is not there")
  return clock
end

local script = assert(loadfile(arg[1]))
setfenv(script, {
  obj = plain(cjson.decode(io.read("*a"))),
  require = load_module,
  ipairs = ipairs, pairs = pairs, next = next, type = type, tostring = tostring, tonumber = tonumber,
  string = string, table = table, math = math,
})
print(cjson.encode(script()))
