-- Stops the push that is under way, if there is one, and starts no other.

obj.spec.suspend = true
return obj
