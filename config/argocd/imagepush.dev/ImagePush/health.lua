-- Health of an ImagePush. Like kstatus, it believes only what was said of the generation that the object has now.

local generation = obj.metadata.generation

local function health(status, message)
  return {status = status, message = message}
end

local function condition(kind)
  for _, it in ipairs((obj.status or {}).conditions or {}) do
    if it.type == kind then
      return it
    end
  end
  return {}
end

local function told(it)
  return (it.reason or "") .. ": " .. (it.message or "")
end

if obj.spec ~= nil and obj.spec.suspend then
  return health("Suspended", "nothing is pushed until it is resumed")
end

-- While an attempt lasts, status.observedGeneration is behind and the condition alone knows what it is for.
local reconciling = condition("Reconciling")
if reconciling.status == "True" and (reconciling.observedGeneration or generation) == generation then
  return health("Progressing", told(reconciling))
end

if obj.status == nil or obj.status.observedGeneration ~= generation then
  return health("Progressing", "the operator has not seen generation " .. tostring(generation) .. " yet")
end

local stalled = condition("Stalled")
if stalled.status == "True" then
  return health("Degraded", told(stalled))
end

local ready = condition("Ready")
if ready.status == "True" then
  return health("Healthy", told(ready))
elseif ready.status == "False" then
  return health("Degraded", told(ready))
end
return health("Progressing", told(ready))
