-- Goes on. The field is set and not removed, since Argo CD would otherwise see a difference from what was synced.

obj.spec.suspend = false
return obj
