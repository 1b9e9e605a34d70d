-- Has the operator look at the object at once: it acts on each new value of the annotation.

local os = require("os")

obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["imagepush.dev/requestedAt"] = os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
