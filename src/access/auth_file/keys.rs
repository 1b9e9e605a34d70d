//! Which keys of a credential file serve which repository, and by which addresses a credential helper knows a registry.

/// Names of Docker Hub: the one in references, and those that files have for it.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What Docker calls its hub in files and before helpers.
const DOCKER_HUB_ADDRESS: &str = "https://index.docker.io/v1/";

/// The keys that serve a repository, most specific first.
pub(super) fn keys(registry: &str, repository: &str) -> Vec<String> {
    let mut keys = vec![];
    let mut path = repository;
    while !path.is_empty() {
        keys.push(format!("{registry}/{path}"));
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    keys.push(registry.to_owned());
    keys
}

/// Whether a key stands for a whole registry, in whatever form tools have written its host over the years.
pub(super) fn is_for(key: &str, registry: &str) -> bool {
    canonical(key) == canonical(registry)
}

/// The addresses by which helpers know a registry: Docker's and Podman's.
pub(in crate::access) fn addresses(registry: &str) -> Vec<String> {
    if canonical(registry) == DOCKER_HUB[0] {
        vec![DOCKER_HUB_ADDRESS.to_owned(), DOCKER_HUB[0].to_owned()]
    } else {
        vec![registry.to_owned()]
    }
}

/// The host that a key serves: without scheme and what follows the host, and one name for Docker Hub.
fn canonical(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let host = bare.map_or(key, |url| url.split('/').next().unwrap_or_default());
    // Docker's older form has the path, but not always the scheme.
    let host = host.strip_suffix("/v1/").unwrap_or(host);
    if DOCKER_HUB.contains(&host) { DOCKER_HUB[0] } else { host }
}
