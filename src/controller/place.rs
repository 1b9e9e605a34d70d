//! Where an attempt runs: in the operator's process, or in a Job that mounts volumes. Pure.
//!
//! The schema refuses most of what makes no sense; it is refused here once more, since a Job is given volumes by what is read
//! here, and a schema may be older than the operator.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::executor::JobSettings;
use crate::access::Access;
use crate::api::check::is_object_name;
use crate::api::v1alpha1::{ExecutorChoice, ImageLocation, ImagePushSpec, Mode, VolumeSource};
use crate::error::{Error, Kind, Result, Side};
use crate::options::{Endpoint, PushOptions};
use crate::transport::Locality;

/// Where the pod of a Job has its volumes, each in a folder that is named for its side.
pub const VOLUMES: &str = "/volumes";

/// Where an attempt runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the operator's own process.
    InProcess,
    /// In a Job of its own.
    Job,
}

/// Chooses the place for an object of this namespace; fails where there is none.
pub(crate) fn place(
    spec: &ImagePushSpec,
    namespace: &str,
    options: &PushOptions,
    settings: &JobSettings,
) -> Result<Place> {
    let sides = [
        (Side::Source, &spec.source, &options.source),
        (Side::Destination, &spec.destination, &options.destination),
    ];
    for (side, location, endpoint) in sides {
        check(location, namespace, endpoint, settings).map_err(|error| error.on(side))?;
    }
    check_bundle(spec)?;
    let needs = spec.source.volume.is_some() || spec.destination.volume.is_some();
    match spec.executor {
        ExecutorChoice::InProcess if needs => {
            let message = "`executor` is 'InProcess', and only a Job can mount a `volume`";
            Err(Error::new(Kind::InvalidOptions, message))
        }
        ExecutorChoice::InProcess if settings.always => {
            let message = "`executor` is 'InProcess', and this operator makes every push in a Job";
            let error = Error::new(Kind::AccessDenied, message);
            Err(error.hint("leave `executor` out, or ask whoever runs the operator"))
        }
        ExecutorChoice::InProcess => Ok(Place::InProcess),
        ExecutorChoice::Auto if !needs && !settings.always => Ok(Place::InProcess),
        ExecutorChoice::Auto | ExecutorChoice::Job if settings.image.is_none() => {
            let message =
                "this push needs a Job, and the operator doesn't know what image to run in it";
            let error = Error::new(Kind::TransportUnsupported, message);
            Err(error.hint("whoever runs the operator has to set `--job-image`"))
        }
        ExecutorChoice::Auto | ExecutorChoice::Job => Ok(Place::Job),
    }
}

/// What a side may use in a pod that has its volumes in this folder.
pub(crate) fn confined(
    access: Access,
    location: &ImageLocation,
    side: Side,
    volumes: &Path,
) -> Access {
    let root = location.volume.as_ref().map(|_| Arc::from(volumes.join(side.as_str())));
    Access { root, ..access }
}

/// What tells a volume apart from the others of a namespace.
pub(crate) fn volume_name(volume: &VolumeSource) -> String {
    let VolumeSource { persistent_volume_claim, host_path } = volume;
    match (persistent_volume_claim, host_path) {
        (Some(claim), _) => format!("claim {}", claim.claim_name),
        (None, path) => {
            let path = Path::new(path.as_ref().map_or("", |path| path.path.as_str()));
            // However it is spelt.
            format!("path {}", path.components().collect::<PathBuf>().display())
        }
    }
}

/// What is applied is read by the operator, from where the image is then.
fn check_bundle(spec: &ImagePushSpec) -> Result<()> {
    let applies = spec.custom_resources.as_ref().is_some_and(|it| it.apply.is_some());
    let read = if spec.mode == Mode::DryRun { &spec.source } else { &spec.destination };
    if !applies || read.volume.is_none() {
        return Ok(());
    }
    let message = format!("`customResources.apply` can't read `{}` in a volume", read.reference);
    let error = Error::new(Kind::TransportUnsupported, message);
    Err(error.hint("apply it with a push to a registry"))
}

fn check(
    location: &ImageLocation,
    namespace: &str,
    endpoint: &Endpoint,
    settings: &JobSettings,
) -> Result<()> {
    let local = endpoint.reference.transport().locality() == Locality::NodeLocal;
    let shown = &endpoint.reference;
    match &location.volume {
        None if local => {
            let message =
                format!("`{shown}` is on a file system, and no `volume` is named that has it");
            let error = Error::new(Kind::TransportUnsupported, message);
            Err(error.hint("name a `volume`, or run `imagepush push` where the files are"))
        }
        None => Ok(()),
        Some(_) if !local => {
            let message = format!("`{shown}` is in a registry, which has no `volume`");
            Err(Error::new(Kind::InvalidOptions, message))
        }
        Some(volume) => {
            check_path(&location.reference)?;
            check_volume(volume, namespace, settings)
        }
    }
}

/// The path of a reference has to be relative to its volume. The kernel keeps it there; this is for a better message.
fn check_path(reference: &str) -> Result<()> {
    let details = reference.split_once(':').map_or("", |(_, details)| details);
    if details.starts_with('/') || details.split(['/', ':']).any(|part| part == "..") {
        let message =
            format!("`{reference}` must name a path relative to its volume, without `..`");
        return Err(Error::new(Kind::InvalidReference, message));
    }
    Ok(())
}

fn check_volume(volume: &VolumeSource, namespace: &str, settings: &JobSettings) -> Result<()> {
    let VolumeSource { persistent_volume_claim, host_path } = volume;
    match (persistent_volume_claim, host_path) {
        (Some(claim), None) if is_object_name(&claim.claim_name) => Ok(()),
        (Some(claim), None) => {
            let message = format!("no claim has the name `{}`", claim.claim_name);
            Err(Error::new(Kind::InvalidOptions, message))
        }
        (None, Some(host)) => {
            if settings.host_mount(namespace, host).is_some() {
                return Ok(());
            }
            let path = &host.path;
            let message =
                format!("the operator does not mount `{path}` of a node in this namespace");
            let error = Error::new(Kind::AccessDenied, message);
            Err(error.hint("name a claim, or ask whoever runs the operator to allow the folder"))
        }
        _ => {
            let message = "a `volume` is either a `persistentVolumeClaim` or a `hostPath`";
            Err(Error::new(Kind::InvalidOptions, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::validate;

    /// `InProcess`, `Job`, or the side and message of the refusal.
    fn placed(source: &Value, more: &Value, settings: &JobSettings) -> String {
        let mut spec = json!({
            "source": source,
            "destination": {"reference": "docker://b.example/x:1"},
            "runPolicy": "Once",
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec: ImagePushSpec = serde_json::from_value(spec).unwrap();
        let options = validate::options(&spec, Access::default(), Access::default()).unwrap();
        match place(&spec, "team", &options, settings) {
            Ok(place) => format!("{place:?}"),
            Err(error) => {
                let side = error.side().map_or(String::new(), |side| format!("{side}: "));
                format!("{side}{} {error}", error.kind())
            }
        }
    }

    #[test]
    fn the_place_follows_from_volumes_and_wishes() {
        let settings = JobSettings {
            image: Some("i".into()),
            host_folders: vec!["/srv/images".parse().unwrap()],
            ..JobSettings::default()
        };
        let always = JobSettings { always: true, ..settings.clone() };
        let none = JobSettings { image: None, ..settings.clone() };
        let registry = json!({"reference": "docker://a.example/x:1"});
        let claim = json!({"persistentVolumeClaim": {"claimName": "c"}});
        let oci = |path: &str| json!({"reference": format!("oci:{path}"), "volume": claim});
        let host =
            |path: &str| json!({"reference": "oci:x", "volume": {"hostPath": {"path": path}}});
        let (auto, job) = (json!({}), json!({"executor": "Job"}));
        let inside = json!({"executor": "InProcess"});
        let no_image = "TransportUnsupported this push needs a Job, and the operator doesn't know what image to run in it";
        let cases = [
            (&registry, &auto, &settings, "InProcess".to_owned()),
            (&registry, &job, &settings, "Job".to_owned()),
            (&registry, &auto, &always, "Job".to_owned()),
            (&registry, &inside, &settings, "InProcess".to_owned()),
            (
                &registry,
                &inside,
                &always,
                "AccessDenied `executor` is 'InProcess', and this operator makes every push in a Job"
                    .to_owned(),
            ),
            (&registry, &auto, &none, "InProcess".to_owned()),
            (&registry, &job, &none, no_image.to_owned()),
            (&oci("x:1"), &auto, &settings, "Job".to_owned()),
            (&oci("a/b..c/x:1"), &auto, &settings, "Job".to_owned()),
            (&oci("x:1"), &auto, &none, no_image.to_owned()),
            (
                &oci("x:1"),
                &inside,
                &settings,
                "InvalidOptions `executor` is 'InProcess', and only a Job can mount a `volume`"
                    .to_owned(),
            ),
            (&host("/srv/images/team"), &auto, &settings, "Job".to_owned()),
            (&host("/srv/images/team/app"), &auto, &settings, "Job".to_owned()),
        ];
        for (source, more, settings, expected) in cases {
            assert_eq!(placed(source, more, settings), expected, "{source} {more}");
        }
        for path in ["/", "/srv/images", "/srv/images/other", "/srv/images/../team", "/etc"] {
            let expected = format!(
                "source: AccessDenied the operator does not mount `{path}` of a node in this namespace"
            );
            assert_eq!(placed(&host(path), &auto, &settings), expected);
        }
    }

    #[test]
    fn what_no_place_suits_is_refused() {
        let settings = JobSettings { image: Some("i".into()), ..JobSettings::default() };
        let claim = json!({"persistentVolumeClaim": {"claimName": "c"}});
        let oci = |path: &str| json!({"reference": format!("oci:{path}"), "volume": claim});
        let auto = json!({});
        let relative = "must name a path relative to its volume, without `..`";
        let cases = [
            (&oci("/x"), &auto, format!("source: InvalidReference `oci:/x` {relative}")),
            (
                &oci("a/../../x"),
                &auto,
                format!("source: InvalidReference `oci:a/../../x` {relative}"),
            ),
            (&oci(".."), &auto, format!("source: InvalidReference `oci:..` {relative}")),
            (
                &json!({"reference": "oci:x"}),
                &auto,
                "source: TransportUnsupported `oci:x` is on a file system, and no `volume` is named that has it".to_owned(),
            ),
            (
                &json!({"reference": "docker://a.example/x:1", "volume": claim}),
                &auto,
                "source: InvalidOptions `docker://a.example/x:1` is in a registry, which has no `volume`".to_owned(),
            ),
            (
                &json!({"reference": "oci:x", "volume": {"persistentVolumeClaim": {"claimName": "?limit=5"}}}),
                &auto,
                "source: InvalidOptions no claim has the name `?limit=5`".to_owned(),
            ),
            (
                &oci("x:1"),
                &json!({"mode": "DryRun", "customResources": {"apply": {"serviceAccountName": "a"}}}),
                "TransportUnsupported `customResources.apply` can't read `oci:x:1` in a volume".to_owned(),
            ),
            (
                &json!({"reference": "oci:x", "volume": {}}),
                &auto,
                "source: InvalidOptions a `volume` is either a `persistentVolumeClaim` or a `hostPath`".to_owned(),
            ),
        ];
        for (source, more, expected) in cases {
            assert_eq!(placed(source, more, &settings), expected, "{source} {more}");
        }
    }

    #[test]
    fn a_side_is_kept_in_its_volume() {
        let root = |location: Value| {
            let location: ImageLocation = serde_json::from_value(location).unwrap();
            confined(Access::default(), &location, Side::Destination, Path::new(VOLUMES)).root
        };
        let claim = json!({"persistentVolumeClaim": {"claimName": "c"}});
        let volume = root(json!({"reference": "oci:x", "volume": claim}));
        assert_eq!(volume.as_deref(), Some(Path::new("/volumes/destination")));
        assert_eq!(root(json!({"reference": "docker://a.example/x"})), None);
    }
}
