//! What is attached to the images of a layout.
//!
//! The list of an image's attachments is an index among the blobs, whose entry in `index.json` is named after the image (the
//! distribution specification's "Referrers Tag Schema", which regctl follows in layouts, too). No I/O: where the list
//! is, and what becomes of it, are values.

use std::collections::BTreeSet;

use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, Digest, Index, Manifest, MediaType};
use crate::limits::MAX_ATTACHMENTS;

/// Longest part of a digest that the name repeats.
const SHOWN_HEX: usize = 64;

/// The name of the list of what is attached to a manifest.
pub(crate) fn list_name(subject: &Digest) -> String {
    let hex: String = subject.hex().chars().take(SHOWN_HEX).collect();
    format!("{}-{hex}", subject.algorithm().as_str())
}

/// Whether an entry of `index.json` with this name is such a list.
pub(crate) fn is_list_name(name: &str) -> bool {
    let hex = name.strip_prefix("sha256-").or_else(|| name.strip_prefix("sha512-"));
    let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    hex.is_some_and(|hex| hex.len() == SHOWN_HEX && hex.bytes().all(lower))
}

/// The entries of a list that are of this kind.
pub(crate) fn entries(
    list: Option<&Manifest>,
    artifact_type: Option<&MediaType>,
) -> Result<Vec<Descriptor>> {
    let entries = list.and_then(Manifest::as_index).map(|index| index.manifests.clone());
    let mut entries = entries.unwrap_or_default();
    bounded(entries.len())?;
    let wanted = |entry: &Descriptor| {
        artifact_type.is_none_or(|it| entry.artifact_type.as_ref() == Some(it))
    };
    entries.retain(wanted);
    Ok(entries)
}

/// The manifest that an artifact belongs to, and how a list of what is attached to it describes the artifact.
pub(crate) fn entry(artifact: &Manifest) -> Result<(Digest, Descriptor)> {
    entry_of(artifact).ok_or_else(|| {
        let message = format!("`{}` names no manifest that it belongs to", artifact.digest());
        Error::new(Kind::InvalidImage, message)
    })
}

/// The same for a manifest or index that may belong to none.
pub(crate) fn entry_of(manifest: &Manifest) -> Option<(Digest, Descriptor)> {
    let (subject, artifact_type, annotations) = match (manifest.as_image(), manifest.as_index()) {
        (Some(image), _) => {
            (image.subject.clone()?, Some(image.kind().clone()), &image.annotations)
        }
        (_, Some(index)) => (index.subject()?, index.artifact_type(), &index.annotations),
        (None, None) => return None,
    };
    let annotations = annotations.clone();
    let descriptor = Descriptor { annotations, artifact_type, ..manifest.descriptor() };
    Some((subject.digest, descriptor))
}

/// What a push changes about attachments, to be done at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    added: Vec<(Digest, Descriptor)>,
    removed: Vec<(Digest, Digest)>,
}

// === impl Changes ===

impl Changes {
    /// Attaches an artifact to the manifest that it names.
    pub(crate) fn add(&mut self, artifact: &Manifest) -> Result<()> {
        let (subject, descriptor) = entry(artifact)?;
        self.removed.retain(|removed| *removed != (subject.clone(), descriptor.digest.clone()));
        self.added.retain(|added| added.1.digest != descriptor.digest || added.0 != subject);
        self.added.push((subject, descriptor));
        Ok(())
    }

    /// Takes an attachment off.
    pub(crate) fn remove(&mut self, subject: &Digest, attachment: &Digest) {
        self.added.retain(|(of, added)| (of, &added.digest) != (subject, attachment));
        self.removed.push((subject.clone(), attachment.clone()));
    }

    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    /// The manifests whose lists change.
    pub(crate) fn subjects(&self) -> BTreeSet<&Digest> {
        let added = self.added.iter().map(|(subject, _)| subject);
        added.chain(self.removed.iter().map(|(subject, _)| subject)).collect()
    }

    /// The list of a manifest's attachments as it is to be; none if it would be empty.
    pub(crate) fn applied(
        &self,
        subject: &Digest,
        list: Option<&Manifest>,
    ) -> Result<Option<Manifest>> {
        let index = list.and_then(Manifest::as_index);
        let mut index = index.cloned().unwrap_or_else(|| Index::new(vec![]));
        let added = || self.added.iter().filter(|(of, _)| of == subject).map(|(_, entry)| entry);
        let goes = |entry: &Descriptor| {
            let removed =
                self.removed.iter().any(|(of, gone)| (of, gone) == (subject, &entry.digest));
            removed || added().any(|added| added.digest == entry.digest)
        };
        index.manifests.retain(|entry| !goes(entry));
        index.manifests.extend(added().cloned());
        bounded(index.manifests.len())?;
        let is_empty = index.manifests.is_empty();
        Ok((!is_empty).then(|| Manifest::from_index(index, MediaType::OCI_INDEX)))
    }

    /// A list as it is seen before the end of the push.
    pub(crate) fn seen(
        &self,
        subject: &Digest,
        list: Option<&Manifest>,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        entries(self.applied(subject, list)?.as_ref(), artifact_type)
    }
}

fn bounded(count: usize) -> Result<()> {
    if count <= MAX_ATTACHMENTS {
        return Ok(());
    }
    let message = format!("there are more than the limit of {MAX_ATTACHMENTS} attachments");
    Err(Error::new(Kind::LimitExceeded, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Annotations, Artifact};

    fn artifact(subject: &Descriptor, what: &str) -> Manifest {
        let artifact = Artifact {
            artifact_type: MediaType::new(format!("application/{what}")),
            subject: subject.clone(),
            layers: vec![],
            annotations: Annotations::from([("a".into(), what.into())]),
        };
        artifact.into_manifest()
    }

    fn kinds(entries: &[Descriptor]) -> Vec<&str> {
        entries.iter().map(|entry| entry.artifact_type.as_ref().unwrap().as_str()).collect()
    }

    #[test]
    fn lists_are_named_after_their_subject() {
        let hex = "0123456789abcdef".repeat(8);
        for subject in [format!("sha256:{}", &hex[..64]), format!("sha512:{hex}")] {
            let name = list_name(&subject.parse().unwrap());
            assert_eq!(name[7..], hex[..64]);
            assert!(is_list_name(&name));
        }
        for name in [
            "latest",
            "sha256-abc",
            &format!("sha256-{}", "G".repeat(64)),
            &format!("sha256-{}.sig", &hex[..64]),
        ] {
            assert!(!is_list_name(name), "{name}");
        }
    }

    #[test]
    fn what_others_have_attached_stays() {
        let subject = Descriptor::of(MediaType::OCI_MANIFEST, b"subject");
        let digest = &subject.digest;
        let (a, b, c) = (artifact(&subject, "a"), artifact(&subject, "b"), artifact(&subject, "c"));
        let mut before = Changes::default();
        before.add(&a).unwrap();
        before.add(&b).unwrap();
        let list = before.applied(digest, None).unwrap();
        assert_eq!(
            kinds(&entries(list.as_ref(), None).unwrap()),
            ["application/a", "application/b"]
        );

        let mut changes = Changes::default();
        changes.add(&c).unwrap();
        changes.add(&c).unwrap();
        changes.remove(digest, a.digest());
        let seen = changes.seen(digest, list.as_ref(), None).unwrap();
        assert_eq!(kinds(&seen), ["application/b", "application/c"]);
        let wanted = MediaType::new("application/b");
        assert_eq!(changes.seen(digest, list.as_ref(), Some(&wanted)).unwrap().len(), 1);
        changes.remove(digest, b.digest());
        changes.remove(digest, c.digest());
        assert_eq!(changes.applied(digest, list.as_ref()).unwrap(), None);
        assert_eq!(changes.subjects().len(), 1);
        let other = Digest::of(b"other");
        assert_eq!(changes.applied(&other, list.as_ref()).unwrap(), list);
        assert!(
            changes.add(&Manifest::from_index(Index::new(vec![]), MediaType::OCI_INDEX)).is_err()
        );
    }
}
