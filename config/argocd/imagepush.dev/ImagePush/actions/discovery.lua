-- What can be done with an ImagePush from Argo CD.

local suspended = obj.spec ~= nil and obj.spec.suspend == true

return {
  reconcile = {disabled = suspended, displayName = "Push now", iconClass = "fa fa-fw fa-sync"},
  suspend = {disabled = suspended, displayName = "Suspend", iconClass = "fa fa-fw fa-pause"},
  resume = {disabled = not suspended, displayName = "Resume", iconClass = "fa fa-fw fa-play"},
}
