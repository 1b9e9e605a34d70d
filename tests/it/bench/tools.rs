//! The tools under measurement, and how each copies an image.

use std::path::PathBuf;

use crate::support::measured::{Used, measure};
use crate::support::peers;

/// A program under measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    Imagepush,
    Skopeo,
    Crane,
    Regctl,
}

/// Where an image is.
pub(super) enum Image {
    /// The only one of a layout, tagged `1`.
    Layout(PathBuf),
    /// The same, and options that we alone get.
    LayoutWith(PathBuf, &'static str),
    /// A layout in a tar file.
    Archive(PathBuf),
    /// In a registry.
    Remote { host: String, name: &'static str },
}

pub(super) const ALL: &[Tool] = &[Tool::Imagepush, Tool::Skopeo, Tool::Crane, Tool::Regctl];

// === impl Image ===

impl Image {
    pub(super) fn remote(host: &str, name: &'static str) -> Self {
        Self::Remote { host: host.to_owned(), name }
    }

    /// As imagepush and skopeo write it.
    fn with_transport(&self) -> String {
        match self {
            Self::Layout(path) | Self::LayoutWith(path, _) => format!("oci:{}:1", path.display()),
            Self::Archive(path) => format!("oci-archive:{}:1", path.display()),
            Self::Remote { host, name } => format!("docker://{host}/{name}"),
        }
    }

    fn as_crane_writes_it(&self) -> String {
        match self {
            Self::Layout(path) | Self::LayoutWith(path, _) | Self::Archive(path) => {
                path.display().to_string()
            }
            Self::Remote { host, name } => format!("{host}/{name}"),
        }
    }

    fn as_regctl_writes_it(&self) -> String {
        match self {
            Self::Layout(path) | Self::LayoutWith(path, _) => {
                format!("ocidir://{}:1", path.display())
            }
            Self::Archive(_) | Self::Remote { .. } => self.as_crane_writes_it(),
        }
    }
}

/// Runs a command several times one after the other; what all of them used.
pub(super) fn repeated(times: u32, command: &[String]) -> Used {
    // No tool finds a cache, credentials or settings of this machine.
    let home = tempfile::tempdir().unwrap();
    let home = home.path().display();
    let environment = ["HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "DOCKER_CONFIG"]
        .map(|name| format!("{name}={home}"));
    let repeat =
        "times=$1; shift; while [ $times -gt 0 ]; do \"$@\" || exit; times=$((times - 1)); done";
    let times_text = times.to_string();
    let mut all: Vec<&str> = environment.iter().map(String::as_str).collect();
    // Root's cache is the machine's, unless skopeo takes itself for somebody else's.
    all.push("_CONTAINERS_ROOTLESS_UID=65534");
    if times > 1 {
        all.extend(["sh", "-c", repeat, "sh", &times_text]);
    }
    all.extend(command.iter().map(String::as_str));
    measure("env", &all)
}

// === impl Tool ===

impl Tool {
    /// Copies an image with everything that it refers to, several times one after the other.
    pub(super) fn copy(self, times: u32, source: &Image, destination: &Image) -> Used {
        repeated(times, &self.command(source, destination))
    }

    fn command(self, source: &Image, destination: &Image) -> Vec<String> {
        let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let ends = |write: fn(&Image) -> String| vec![write(source), write(destination)];
        let peer = |name: &str| vec![peers::program(name).to_str().unwrap().to_owned()];
        match self {
            Self::Imagepush => {
                let program = std::env::var("IMAGEPUSH_BINARY").expect("run `make bench`");
                let mut options = words("push --quiet --all");
                if let Image::LayoutWith(_, more) = source {
                    options.extend(words(more));
                }
                if !matches!((source, destination), (Image::Layout(_), Image::Archive(_))) {
                    options.push("--plain-http".to_owned());
                }
                [vec![program], options, ends(Image::with_transport)].concat()
            }
            Self::Skopeo => {
                let options = "skopeo --insecure-policy copy --quiet --all --src-tls-verify=false \
                               --dest-tls-verify=false";
                [words(options), ends(Image::with_transport)].concat()
            }
            Self::Crane => {
                let remote = matches!(source, Image::Remote { .. });
                let verb = if remote { "copy" } else { "push" };
                [peer("crane"), words(verb), ends(Image::as_crane_writes_it)].concat()
            }
            Self::Regctl => {
                let plain = |image: &Image| match image {
                    Image::Remote { host, .. } => Some(format!("--host=reg={host},tls=disabled")),
                    Image::Layout(_) | Image::LayoutWith(..) | Image::Archive(_) => None,
                };
                let hosts = [source, destination].into_iter().filter_map(plain).collect();
                let ends = ends(Image::as_regctl_writes_it);
                [peer("regctl"), hosts, words("image copy"), ends].concat()
            }
        }
    }
}

impl std::fmt::Display for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Imagepush => "imagepush",
            Self::Skopeo => "skopeo",
            Self::Crane => "crane",
            Self::Regctl => "regctl",
        };
        write!(f, "{name}")
    }
}
