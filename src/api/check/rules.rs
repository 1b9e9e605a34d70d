//! The rules that join several fields, in the words of the CEL rules that stand on the types.
//!
//! Rules about changes of an object are not here: what is read from a file has no former state.

use std::time::Duration;

use crate::api::crd;
use crate::api::v1alpha1::{
    Compression, CompressionFormat, CustomResources, CustomResourcesPolicy, DeletionPolicy,
    ExecutorChoice, ImageLocation, ImagePushSpec, PlatformMode, Platforms, Retry, RunPolicy,
    TlsPolicy, VolumeSource,
};
use crate::error::{Error, Kind, Result};
use crate::image::Platform;
use crate::transport;

/// Refuses a spec that contradicts itself. Errors have the kind `InvalidOptions`.
pub fn rules(spec: &ImagePushSpec) -> Result<()> {
    of_spec(spec)
        .and_then(|()| of_location(&spec.source, "spec.source"))
        .and_then(|()| of_location(&spec.destination, "spec.destination"))
        .and_then(|()| spec.platforms.as_ref().map_or(Ok(()), of_platforms))
        .and_then(|()| spec.compression.as_ref().map_or(Ok(()), of_compression))
        .and_then(|()| spec.retry.as_ref().map_or(Ok(()), of_retry))
        .and_then(|()| spec.custom_resources.as_ref().map_or(Ok(()), of_custom_resources))
        .map_err(|message| Error::new(Kind::InvalidOptions, message))
}

fn of_spec(spec: &ImagePushSpec) -> Result<(), String> {
    let ImagePushSpec { source, destination, run_policy, interval, timeout, executor, .. } = spec;
    demand(
        spec.ttl_seconds_after_finished.is_none() || *run_policy == RunPolicy::Once,
        "spec",
        "`ttlSecondsAfterFinished` may only be specified when `runPolicy` is 'Once'",
    )?;
    let tagged =
        destination.reference.starts_with("docker:") && !destination.reference.contains('@');
    demand(
        spec.deletion_policy == DeletionPolicy::Retain || tagged,
        "spec",
        "`deletionPolicy` may only be 'Delete' for docker destinations with a tag",
    )?;
    demand(
        (*run_policy == RunPolicy::Continuous) == interval.is_some(),
        "spec",
        "`interval` must be set when `runPolicy` is 'Continuous', and may not be set otherwise",
    )?;
    let interval = duration(interval.as_deref(), "spec.interval")?;
    let least = Duration::from_mins(1);
    demand(
        interval.is_none_or(|interval| interval >= least),
        "spec",
        "`interval` must be greater than or equal to 1m",
    )?;
    let timeout = duration(timeout.as_deref(), "spec.timeout")?;
    let allowed = Duration::from_secs(1)..=Duration::from_hours(24);
    demand(
        timeout.is_none_or(|timeout| allowed.contains(&timeout)),
        "spec",
        "`timeout` must be between 1s and 24h",
    )?;
    demand(
        *executor != ExecutorChoice::InProcess
            || (source.volume.is_none() && destination.volume.is_none()),
        "spec",
        "`executor` may not be 'InProcess' when a `volume` is specified",
    )?;
    let claim = destination.volume.as_ref().and_then(|it| it.persistent_volume_claim.as_ref());
    demand(
        claim.is_none_or(|claim| !claim.read_only),
        "spec",
        "`destination.volume` may not be read-only",
    )
}

fn of_location(location: &ImageLocation, path: &str) -> Result<(), String> {
    let ImageLocation {
        reference,
        secret_ref,
        service_account_name,
        cert_secret_ref,
        tls_policy,
        volume,
    } = location;
    demand(has_transport(reference), path, &crd::transport_is_unknown())?;
    for (secret, field) in [(secret_ref, "secretRef"), (cert_secret_ref, "certSecretRef")] {
        demand(
            secret.as_ref().is_none_or(|secret| is_object_name(&secret.name)),
            &format!("{path}.{field}"),
            "`name` must be the name of an object: lower-case letters and digits, with `-` and `.` between them",
        )?;
    }
    demand(
        service_account_name.as_deref().is_none_or(is_object_name),
        path,
        "`serviceAccountName` must be the name of an object: lower-case letters and digits, with `-` and `.` between them",
    )?;
    let credentials = secret_ref.is_some() || service_account_name.is_some();
    let access = credentials || cert_secret_ref.is_some() || tls_policy.is_some();
    demand(
        reference.starts_with("docker:") || !access,
        path,
        "`secretRef`, `serviceAccountName`, `certSecretRef` and `tlsPolicy` may only be specified for the docker transport",
    )?;
    demand(
        service_account_name.is_none() || secret_ref.is_none(),
        path,
        "`serviceAccountName` may not be specified together with `secretRef`",
    )?;
    demand(
        cert_secret_ref.is_none() || *tls_policy != Some(TlsPolicy::PlainHttp),
        path,
        "`certSecretRef` may not be specified when `tlsPolicy` is 'PlainHTTP'",
    )?;
    volume.as_ref().map_or(Ok(()), |volume| of_volume(volume, reference, path))
}

fn of_volume(volume: &VolumeSource, reference: &str, path: &str) -> Result<(), String> {
    let VolumeSource { persistent_volume_claim, host_path } = volume;
    demand(
        !reference.starts_with("docker:"),
        path,
        "`volume` may not be specified for the docker transport",
    )?;
    let details = reference.split_once(':').map_or("", |(_, details)| details);
    demand(
        !details.starts_with('/') && !details.split(['/', ':']).any(|part| part == ".."),
        path,
        "`reference` must name a path relative to `volume`, and may not contain '..'",
    )?;
    let claim = persistent_volume_claim.as_ref();
    demand(
        claim.is_none_or(|claim| is_object_name(&claim.claim_name)),
        &format!("{path}.volume.persistentVolumeClaim"),
        "`claimName` must be the name of an object: lower-case letters and digits, with `-` and `.` between them",
    )?;
    let folder = host_path.as_ref().map(|host| host.path.as_str());
    demand(
        folder.is_none_or(|path| path.starts_with('/') && path.split('/').all(|it| it != "..")),
        &format!("{path}.volume.hostPath"),
        "`path` must begin at the root, and may not contain '..'",
    )?;
    demand(
        persistent_volume_claim.is_some() != host_path.is_some(),
        path,
        "exactly one of `persistentVolumeClaim` and `hostPath` must be set",
    )
}

fn of_platforms(platforms: &Platforms) -> Result<(), String> {
    let Platforms { mode, list } = platforms;
    demand(
        (*mode == PlatformMode::List) == list.is_some(),
        "spec.platforms",
        "`list` must be set when `mode` is 'List', and may not be set otherwise",
    )?;
    demand(
        list.iter().flatten().all(|platform| platform.parse::<Platform>().is_ok()),
        "spec.platforms",
        "`list` must have entries of the form 'OS/ARCH' or 'OS/ARCH/VARIANT'",
    )
}

fn of_compression(compression: &Compression) -> Result<(), String> {
    let Compression { disabled, format, level } = compression;
    let path = "spec.compression";
    demand(
        !disabled || (format.is_none() && level.is_none()),
        path,
        "`format` and `level` may not be specified when `disabled` is true",
    )?;
    demand(
        level.is_none() || format.is_some(),
        path,
        "`level` may only be specified together with `format`",
    )?;
    let gzip = *format == Some(CompressionFormat::Gzip);
    demand(
        !gzip || level.is_none_or(|level| level <= 9),
        path,
        "`level` must be between 1 and 9 when `format` is 'gzip'",
    )
}

fn of_custom_resources(wish: &CustomResources) -> Result<(), String> {
    let CustomResources { policy, apply } = wish;
    let path = "spec.customResources";
    demand(
        apply.is_none() || *policy != CustomResourcesPolicy::Never,
        path,
        "`apply` may not be specified when `policy` is 'Never'",
    )?;
    let timeout = apply.as_ref().and_then(|apply| apply.timeout.as_deref());
    let timeout = duration(timeout, "spec.customResources.apply.timeout")?;
    let allowed = Duration::from_secs(1)..=Duration::from_hours(1);
    demand(
        timeout.is_none_or(|timeout| allowed.contains(&timeout)),
        "spec.customResources.apply",
        "`timeout` must be between 1s and 1h",
    )
}

fn of_retry(retry: &Retry) -> Result<(), String> {
    let delay = duration(retry.delay.as_deref(), "spec.retry.delay")?;
    demand(
        delay.is_none_or(|delay| delay <= Duration::from_mins(15)),
        "spec.retry",
        "`delay` must be less than or equal to 15m",
    )
}

/// Whether an object of Kubernetes may have this name, so that it can be part of a path of its API.
pub(crate) fn is_object_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|byte| plain(*byte))
        && bytes.last().is_some_and(|byte| plain(*byte))
        && bytes.iter().all(|byte| plain(*byte) || matches!(byte, b'-' | b'.'))
}

fn demand(holds: bool, path: &str, message: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("`{path}`: {message}")) }
}

/// The name of a known transport, a colon, and something after it.
fn has_transport(reference: &str) -> bool {
    let parts = reference.split_once(':');
    parts.is_some_and(|(name, details)| transport::names().contains(&name) && !details.is_empty())
}

/// A duration as the schema's pattern allows it: whole numbers, each with its unit.
fn duration(text: Option<&str>, path: &str) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    let malformed = || format!("`{path}` must be a duration such as `30s`, `10m` or `1h30m`");
    let (mut sum, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = Some(&rest[..digits])
            .filter(|it| it.len() <= 6)
            .and_then(|it| it.parse().ok())
            .ok_or_else(malformed)?;
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
        let after = &rest[digits..];
        let unit =
            units.into_iter().find_map(|(name, millis)| Some((after.strip_prefix(name)?, millis)));
        let (after, millis) = unit.ok_or_else(malformed)?;
        sum += Duration::from_millis(u64::from(number) * millis);
        rest = after;
    }
    Ok(Some(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_pattern() {
        let cases = [
            ("90s", Some(90_000)),
            ("1h30m", Some(5_400_000)),
            ("1m5ms", Some(60_005)),
            ("", None),
            ("1", None),
            ("s", None),
            ("1 s", None),
            ("1d", None),
            ("-1s", None),
            ("1.5h", None),
            ("1234567s", None),
        ];
        for (text, millis) in cases {
            let found = duration(Some(text), "spec.timeout").ok().flatten();
            assert_eq!(found, millis.map(Duration::from_millis), "{text}");
        }
        assert_eq!(
            duration(Some("x"), "spec.timeout").unwrap_err(),
            "`spec.timeout` must be a duration such as `30s`, `10m` or `1h30m`"
        );
    }
}
