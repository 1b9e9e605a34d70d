//! Turns a spec and what its Secrets allow into the engine's options. Pure.
//!
//! Every field is taken apart by name, so that a new one can't be forgotten. Defaults live in the options, not here; the
//! one exception is that all platforms are pushed, since which node the operator runs on must not matter.

use std::time::Duration;

use crate::access::{Access, TlsPolicy};
use crate::api::v1alpha1::{
    self, Compression, CompressionFormat, CustomResourcesPolicy, ImagePushSpec, PlatformMode,
};
use crate::blob::{Codec, CodecMemory, Pace};
use crate::error::{Error, Kind, Result, Side};
use crate::image::{self, ManifestFormat, Platform};
use crate::options::{
    BundleClues, CustomResources, Endpoint, Layers, Platforms, PushOptions, Retry,
};
use crate::transport;

/// The options of a spec. Fields that say when and whether to push are read by the controller.
pub fn options(spec: &ImagePushSpec, source: Access, destination: Access) -> Result<PushOptions> {
    let ImagePushSpec {
        source: source_location,
        destination: destination_location,
        run_policy: _,
        interval: _,
        timeout: _,
        suspend: _,
        quiet: _,
        mode: _,
        overwrite_policy: _,
        deletion_policy: _,
        digest_output: _,
        ttl_seconds_after_finished: _,
        platforms: wanted,
        format,
        compression,
        retry: tries,
        verify_after_push,
        custom_resources: bundled,
        executor: _,
    } = spec;
    let on = |side| move |error: Error| error.on(side);
    let source_name = transport::parse(&source_location.reference).map_err(on(Side::Source))?;
    let destination_name =
        transport::parse(&destination_location.reference).map_err(on(Side::Destination))?;
    Ok(PushOptions {
        // Known of the object, and no part of what it asks for.
        clues: BundleClues::default(),
        source: Endpoint { reference: source_name, access: source },
        destination: Endpoint { reference: destination_name, access: destination },
        platforms: platforms(wanted.as_ref())?,
        format: format.map(|format| match format {
            v1alpha1::ManifestFormat::Oci => ManifestFormat::Oci,
            v1alpha1::ManifestFormat::V2s2 => ManifestFormat::V2s2,
        }),
        layers: layers(compression.as_ref())?,
        retry: retry(tries.as_ref())?,
        // The operator reads from registries, and hashes all that it reads.
        verify_source: true,
        // Who runs it knows what else runs beside it.
        pace: Pace::default(),
        codecs: CodecMemory::default(),
        custom_resources: custom_resources(bundled.as_ref()),
        // Nobody looks on here who would notice that something is missing.
        verify_after_push: verify_after_push.unwrap_or(true),
        // What it has to be, `overwritePolicy` says when the destination has been looked at.
        overwrites: None,
    })
}

/// Refuses registries, and ways to speak to them, that the administrator hasn't allowed.
pub(crate) fn permitted(options: &PushOptions) -> Result<()> {
    let sides = [(Side::Source, &options.source), (Side::Destination, &options.destination)];
    for (side, endpoint) in sides {
        let registry = endpoint.reference.repository().map(|it| it.registry.as_str());
        if let Some(registry) = registry.filter(|it| !endpoint.access.network.permits(it)) {
            let message = format!("`{registry}` is none of the registries that may be used here");
            return Err(Error::new(Kind::AccessDenied, message).on(side).hint(
                "name another one, or have whoever runs the operator add it to `--allowed-registries`",
            ));
        }
        let Access { network, tls, .. } = &endpoint.access;
        if registry.is_some() && *tls != TlsPolicy::Verify && network.is_verified_only() {
            let message = "registries may be spoken to only by TLS that is verified";
            return Err(Error::new(Kind::AccessDenied, message).on(side).hint(
                "leave `tlsPolicy` out, and name the registry's authority by `certSecretRef`",
            ));
        }
    }
    Ok(())
}

/// A duration of the spec, such as `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    humantime::parse_duration(text).map_err(|cause| {
        Error::new(Kind::InvalidOptions, format!("`{text}` is not a duration: {cause}"))
            .hint("write it as `30s`, `10m` or `1h30m`")
    })
}

fn platforms(wanted: Option<&v1alpha1::Platforms>) -> Result<Platforms> {
    let Some(v1alpha1::Platforms { mode, list }) = wanted else { return Ok(Platforms::All) };
    match mode {
        PlatformMode::All => Ok(Platforms::All),
        PlatformMode::System => Ok(Platforms::One(Platform::of_this_machine())),
        PlatformMode::List => {
            let parse = |text: &String| {
                text.parse::<Platform>()
                    .map_err(|cause| Error::new(Kind::InvalidOptions, cause.to_string()))
            };
            Ok(Platforms::List(list.iter().flatten().map(parse).collect::<Result<_>>()?))
        }
    }
}

fn layers(compression: Option<&Compression>) -> Result<Layers> {
    let Some(Compression { disabled, format, level }) = compression else {
        return Ok(Layers::default());
    };
    match (disabled, format) {
        (true, _) => Ok(Layers::DoNotCompress),
        (false, None) => Ok(Layers::default()),
        (false, Some(format)) => {
            let format = match format {
                CompressionFormat::Gzip => image::Compression::Gzip,
                CompressionFormat::Zstd => image::Compression::Zstd,
            };
            Ok(Layers::Compress(Codec::new(format, *level)?))
        }
    }
}

/// Where nothing is said of them the image goes alone: nobody looks on who would notice what goes beside it.
fn custom_resources(wanted: Option<&v1alpha1::CustomResources>) -> CustomResources {
    // Where they are applied is the controller's business.
    let Some(v1alpha1::CustomResources { policy, apply: _ }) = wanted else {
        return CustomResources::Never;
    };
    match policy {
        CustomResourcesPolicy::Always => CustomResources::Always,
        CustomResourcesPolicy::Never => CustomResources::Never,
        CustomResourcesPolicy::Only => CustomResources::Only,
        CustomResourcesPolicy::Auto => CustomResources::Auto,
    }
}

fn retry(tries: Option<&v1alpha1::Retry>) -> Result<Retry> {
    let Some(v1alpha1::Retry { limit, delay }) = tries else { return Ok(Retry::default()) };
    let limit = u32::try_from(*limit).map_err(|_| {
        Error::new(Kind::InvalidOptions, format!("{limit} is not a number of retries"))
    })?;
    Retry::new(limit, delay.as_deref().map(duration).transpose()?)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::access::{AllowedRegistries, Network, NetworkSettings};

    fn parsed(changes: &Value) -> Result<PushOptions> {
        let mut spec = json!({
            "source": {"reference": "docker://a.example/x:1"},
            "destination": {"reference": "docker://b.example/x:1"},
        });
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let spec: ImagePushSpec = serde_json::from_value(spec).unwrap();
        options(&spec, Access::default(), Access::default())
    }

    #[test]
    fn an_empty_spec_has_the_defaults_of_the_options() {
        let options = parsed(&json!({"retry": {}})).unwrap();
        assert_eq!(options.source.reference.to_string(), "docker://a.example/x:1");
        assert_eq!(options.destination.reference.to_string(), "docker://b.example/x:1");
        assert_eq!(options.platforms, Platforms::All);
        assert_eq!(options.format, None);
        assert_eq!(options.layers, Layers::Keep);
        assert_eq!(options.retry, Retry::default());
        assert!(options.verify_after_push);
        assert_eq!(options.custom_resources, CustomResources::Never);
    }

    #[test]
    fn every_field_gets_into_the_options() {
        let options = parsed(&json!({
            "platforms": {"mode": "List", "list": ["linux/amd64", "linux/arm64/v8"]},
            "format": "v2s2",
            "compression": {"format": "zstd", "level": 7},
            "retry": {"limit": 5, "delay": "1m30s"},
            "verifyAfterPush": false,
        }))
        .unwrap();
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let list = vec![platform("linux/amd64"), platform("linux/arm64")];
        assert_eq!(options.platforms, Platforms::List(list));
        assert_eq!(options.format, Some(ManifestFormat::V2s2));
        let codec = Codec::new(image::Compression::Zstd, Some(7)).unwrap();
        assert_eq!(options.layers, Layers::Compress(codec));
        assert_eq!(options.retry, Retry::new(5, Some(Duration::from_secs(90))).unwrap());
        assert!(!options.verify_after_push);
        let plain = parsed(&json!({"compression": {"disabled": true}})).unwrap();
        assert_eq!(plain.layers, Layers::DoNotCompress);
    }

    #[test]
    fn what_the_schema_lets_through_is_refused_with_its_side() {
        let unknown = parsed(&json!({"source": {"reference": "foo://x"}})).unwrap_err();
        assert_eq!((unknown.kind(), unknown.side()), (Kind::InvalidReference, Some(Side::Source)));
        let platform = json!({"platforms": {"mode": "List", "list": ["linux"]}});
        assert_eq!(
            parsed(&platform).unwrap_err().to_string(),
            "`linux` is not a platform of the form OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64"
        );
    }

    #[test]
    fn registries_that_are_not_allowed_are_refused_on_either_side() {
        let spec = json!({
            "source": {"reference": "docker://a.example:5000/x:1"},
            "destination": {"reference": "docker://b.example/x:1"},
        });
        let spec: ImagePushSpec = serde_json::from_value(spec).unwrap();
        let judged = |allowed: &str| {
            let places = allowed.split(',').map(|it| it.parse().unwrap()).collect();
            let registries = AllowedRegistries::new(places);
            let settings = NetworkSettings { registries, ..NetworkSettings::default() };
            let network = Network::new(settings);
            let access = || Access { network: network.clone(), ..Access::default() };
            let refused = permitted(&options(&spec, access(), access()).unwrap()).err();
            refused.map(|error| (error.kind(), error.side(), error.to_string()))
        };
        let refused = |side, registry: &str| {
            let message = format!("`{registry}` is none of the registries that may be used here");
            Some((Kind::AccessDenied, Some(side), message))
        };
        assert_eq!(judged("a.example,b.example"), None);
        assert_eq!(judged("b.example"), refused(Side::Source, "a.example:5000"));
        assert_eq!(judged("a.example"), refused(Side::Destination, "b.example"));
    }

    #[test]
    fn insecure_registries_are_refused_where_that_is_forbidden() {
        let spec = json!({
            "source": {"reference": "oci:a", "volume": {"persistentVolumeClaim": {"claimName": "c"}}},
            "destination": {"reference": "docker://b.example/x:1"},
        });
        let spec: ImagePushSpec = serde_json::from_value(spec).unwrap();
        let judged = |verified_only, tls| {
            let settings = NetworkSettings { verified_only, ..NetworkSettings::default() };
            let destination = Access { tls, network: Network::new(settings), ..Access::default() };
            // What is no registry has no policy.
            let source = Access { tls: TlsPolicy::PlainHttp, ..destination.clone() };
            let refused = permitted(&options(&spec, source, destination).unwrap()).err();
            refused.map(|error| (error.kind(), error.side()))
        };
        let refused = Some((Kind::AccessDenied, Some(Side::Destination)));
        for (forbidden, tls, expected) in [
            (false, TlsPolicy::SkipVerify, None),
            (false, TlsPolicy::PlainHttp, None),
            (true, TlsPolicy::Verify, None),
            (true, TlsPolicy::SkipVerify, refused),
            (true, TlsPolicy::PlainHttp, refused),
        ] {
            assert_eq!(judged(forbidden, tls), expected, "{forbidden} {tls:?}");
        }
    }
}
