//! Which folders of nodes the objects of a namespace may have. Pure.
//!
//! A folder that an administrator allows is nobody's in particular: each namespace gets the one below it that has its name,
//! so that no object reads or overwrites what another namespace keeps there. Whoever wants a folder shared says with whom.

use std::ffi::OsStr;
use std::path::{Component, Path};
use std::str::FromStr;

use crate::api::check::is_object_name;

/// A folder of nodes that objects may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFolder {
    /// An absolute path that isn't `/`, without `.` and `..`.
    folder: String,
    whose: Whose,
}

/// Who may have it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whose {
    /// Each namespace the folder of its name below it.
    Each,
    /// This namespace all of it.
    Of(String),
    /// Every namespace all of it.
    Everyones,
}

/// How a folder of a node gets into a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostMount {
    /// The folder that the administrator has named, which nobody can have put a link in the place of.
    pub(crate) folder: String,
    /// The path below it, which the kubelet follows without leaving the folder; empty for the folder itself.
    pub(crate) below: String,
}

// === impl HostFolder ===

impl HostFolder {
    /// How the objects of a namespace get this path of a node; `None` if they may not.
    fn mount(&self, namespace: &str, path: &Path) -> Option<HostMount> {
        let below = path.strip_prefix(&self.folder).ok()?;
        let permitted = match &self.whose {
            Whose::Each => below.starts_with(namespace),
            Whose::Of(name) => name == namespace,
            Whose::Everyones => true,
        };
        let parts: Option<Vec<&str>> = below.iter().map(OsStr::to_str).collect();
        let below = parts.filter(|_| permitted)?.join("/");
        Some(HostMount { folder: self.folder.clone(), below })
    }
}

impl FromStr for HostFolder {
    type Err = String;

    /// Reads `FOLDER`, `NAMESPACE=FOLDER` or `*=FOLDER`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (whose, folder) = match text.split_once('=') {
            Some(("*", folder)) => (Whose::Everyones, folder),
            Some((name, folder)) if is_object_name(name) => (Whose::Of(name.to_owned()), folder),
            _ => (Whose::Each, text),
        };
        let parts = folder.strip_prefix('/').unwrap_or_default().trim_end_matches('/');
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if !folder.starts_with('/') || !parts.split('/').all(plain) {
            return Err("it must be an absolute path below `/`, without `.` and `..`, after \
                        `NAMESPACE=` or `*=` if it is not for each namespace a folder of its own"
                .into());
        }
        Ok(Self { folder: format!("/{parts}"), whose })
    }
}

/// How the objects of a namespace get a path of a node, by the one of these folders that is nearest to it; `None` if they
/// may not have it.
pub(crate) fn mount(folders: &[HostFolder], namespace: &str, path: &str) -> Option<HostMount> {
    let path = Path::new(path);
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if namespace.is_empty() || !path.is_absolute() || !path.components().all(plain) {
        return None;
    }
    let mounts = folders.iter().filter_map(|folder| folder.mount(namespace, path));
    mounts.max_by_key(|mount| mount.folder.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_below_the_root() {
        let of = |name: &str| Some(Whose::Of(name.into()));
        let cases = [
            ("/srv/images", "/srv/images", Some(Whose::Each)),
            ("/srv/", "/srv", Some(Whose::Each)),
            ("team=/srv/images", "/srv/images", of("team")),
            ("*=/srv", "/srv", Some(Whose::Everyones)),
            ("/srv/a=b", "/srv/a=b", Some(Whose::Each)),
            ("/", "", None),
            ("", "", None),
            ("srv", "", None),
            ("/srv/../etc", "", None),
            ("/./srv", "", None),
            ("//srv", "", None),
            ("team=", "", None),
            ("team=srv", "", None),
            ("*=/", "", None),
            ("=/srv", "", None),
            ("Team=/srv", "", None),
        ];
        for (text, folder, whose) in cases {
            let expected = whose.map(|whose| HostFolder { folder: folder.into(), whose });
            assert_eq!(text.parse::<HostFolder>().ok(), expected, "{text}");
        }
    }

    /// What two namespaces get for the same path: the folder, and the path below it.
    #[test]
    fn a_namespace_has_its_own_folders_only() {
        let folders = ["/srv/images", "red=/srv/images/both", "*=/srv/all"];
        let folders = folders.map(|text| text.parse::<HostFolder>().unwrap());
        let got = |namespace: &str, path: &str| {
            mount(&folders, namespace, path).map(|it| format!("{} {}", it.folder, it.below))
        };
        let cases = [
            ("/srv/images/red", Some("/srv/images red"), None),
            ("/srv/images/red/app", Some("/srv/images red/app"), None),
            ("//srv/./images/red//app/", Some("/srv/images red/app"), None),
            ("/srv/images/blue", None, Some("/srv/images blue")),
            ("/srv/images/reddish", None, None),
            ("/srv/images/other/red", None, None),
            ("/srv/images", None, None),
            ("/srv/images/red/../blue", None, None),
            ("/srv/images/both/x", Some("/srv/images/both x"), None),
            ("/srv/all", Some("/srv/all "), Some("/srv/all ")),
            ("/srv/all/x", Some("/srv/all x"), Some("/srv/all x")),
            ("srv/all", None, None),
            ("/srv", None, None),
            ("/", None, None),
            ("", None, None),
        ];
        for (path, red, blue) in cases {
            let expected = (red.map(str::to_owned), blue.map(str::to_owned));
            assert_eq!((got("red", path), got("blue", path)), expected, "{path}");
        }
        // A folder that is named for a namespace leads to that namespace's own below another one.
        let nested = ["/srv", "/srv/red"].map(|text| text.parse::<HostFolder>().unwrap());
        let found = mount(&nested, "red", "/srv/red/red/x").unwrap();
        assert_eq!((found.folder.as_str(), found.below.as_str()), ("/srv/red", "red/x"));
        // An object always has a namespace; a path of no namespace would be everybody's.
        assert_eq!(mount(&nested, "", "/srv/red"), None);
    }
}
