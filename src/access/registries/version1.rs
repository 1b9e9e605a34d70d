//! Version 1 of `registries.conf`: lists of hosts below `[registries]`. It is not read, but said anew in version 2.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::file::Fault;

/// The table `[registries]`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Version1 {
    #[serde(default)]
    search: List,
    #[serde(default)]
    insecure: List,
    #[serde(default)]
    block: List,
}

#[derive(Debug, Default, Deserialize)]
struct List {
    #[serde(default)]
    registries: Vec<String>,
}

/// The same in version 2.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Version2 {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unqualified_search_registries: Vec<String>,
    registry: Vec<Entry>,
}

#[derive(Default, Serialize)]
struct Entry {
    location: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    blocked: bool,
}

// === impl Version1 ===

impl Version1 {
    /// Refuses the file, unless nothing stands in it. `mixed`: it has keys of version 2 as well.
    pub(super) fn refuse(&self, mixed: bool) -> Result<(), Fault> {
        let lists = [&self.search, &self.insecure, &self.block];
        if lists.iter().all(|list| list.registries.is_empty()) {
            return Ok(());
        }
        let message = if mixed {
            "it mixes version 1 of its format (`[registries.…]`) with version 2"
        } else {
            "it is in version 1 of its format (`[registries.…]`), which is not read"
        };
        let intro = "replace what stands below `[registries.…]` by this, which says the same:";
        let new = self.in_version_2();
        let hint = std::iter::once(intro).chain(new.lines()).map(str::to_owned).collect();
        Err(Fault { message: message.into(), hint })
    }

    fn in_version_2(&self) -> String {
        let mut entries = BTreeMap::<&str, Entry>::new();
        let bare = |text: &'_ str| text.trim_end_matches('/').len();
        for host in &self.insecure.registries {
            entries.entry(&host[..bare(host)]).or_default().insecure = true;
        }
        for host in &self.block.registries {
            entries.entry(&host[..bare(host)]).or_default().blocked = true;
        }
        let entries = entries.into_iter();
        let registry =
            entries.map(|(host, entry)| Entry { location: host.to_owned(), ..entry }).collect();
        let search = self.search.registries.clone();
        let written = Version2 { unqualified_search_registries: search, registry };
        // Strings and booleans can always be written.
        toml::to_string(&written).unwrap_or_default()
    }
}
