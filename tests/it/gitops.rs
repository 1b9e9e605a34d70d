//! What GitOps tools make of an ImagePush without any setting by hand: Argo CD by its Lua, Flux and Helm by kstatus.
//!
//! What they make of a real object at each step is in [`crate::operator`].

pub(crate) mod argocd;
pub(crate) mod kstatus;
