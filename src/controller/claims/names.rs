//! Names of destinations, in one form for all that lead to the same place.

use crate::api::v1alpha1::{ImageLocation, ImagePushSpec, TlsPolicy, VolumeSource};
use crate::controller::place::volume_name;
use crate::transport;

/// The name of a destination, in one form for all that lead to the same.
pub(super) fn place(spec: &ImagePushSpec, namespace: &str) -> Option<String> {
    let destination = &spec.destination;
    let reference = transport::parse(&destination.reference).ok()?;
    if reference.digest().is_some() {
        return None;
    }
    let Some(repository) = reference.repository() else {
        return Some(in_files(destination, namespace));
    };
    let host = repository.registry.to_ascii_lowercase();
    let port = if destination.tls_policy == Some(TlsPolicy::PlainHttp) { ":80" } else { ":443" };
    let host = match host.strip_suffix(port).unwrap_or(&host) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    Some(reference.to_string().replacen(&repository.registry, host, 1))
}

/// A destination on a file system: a path below a volume. A folder of a node is the same in every namespace.
fn in_files(destination: &ImageLocation, namespace: &str) -> String {
    let (transport, path) = destination.reference.split_once(':').unwrap_or_default();
    let volume = match &destination.volume {
        Some(VolumeSource { persistent_volume_claim: None, host_path: Some(host) }) => {
            return format!("{transport}:{}", plain(&format!("{}/{path}", host.path)));
        }
        Some(volume) => volume_name(volume),
        None => String::new(),
    };
    format!("{namespace} {volume} {transport}:{}", plain(path))
}

/// A path without what doesn't matter in it, such as `//` and `./`.
fn plain(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}
