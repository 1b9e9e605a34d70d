//! What the state of a Job and its pod means for the attempt. Pure.
//!
//! The pod's report counts wherever there is one. Without it the pod was ended from outside, and what that was is told:
//! nothing is known of the destination then but that its name has the old image or the new one, so another attempt is safe.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use super::object::CONTAINER;
use super::report::Report;
use crate::api::reasons;
use crate::controller::decide::Outcome;
use crate::controller::failure::Failure;
use crate::error::{Class, Kind};
use crate::image::Descriptor;
use crate::limits::{JOB_GRACE_PERIOD, JOB_LOST_AFTER};

/// How far a Job is.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// It goes on. `None` while its pod works; else what the pod waits for, as far as that is known.
    Going(Option<String>),
    /// It is over.
    Ended(Outcome),
}

/// The exit code of a process that was killed, by the kernel for want of memory most of the time.
const KILLED: i32 = 137;

/// Reads the state of a Job and its pods, whose latest is being deleted since so long ago by our own clock.
pub(crate) fn state(job: &Job, pods: &[Pod], gone_for: Duration) -> State {
    let pod = latest(pods);
    if let Some(ended) = pod.and_then(|pod| ended(pod, gone_for)) {
        return State::Ended(ended);
    }
    let waits_for = pod.map_or_else(|| Some("it has no pod yet".to_owned()), waits_for);
    match over(job) {
        None => State::Going(waits_for),
        Some("DeadlineExceeded") => {
            let waited = waits_for.map_or(String::new(), |what| format!(": {what}"));
            let message = format!("the Job ran out of time before its pod ended{waited}");
            State::Ended(failed(Kind::Timeout.as_str(), &message))
        }
        Some(reason) => {
            let message = format!("the Job ended without its pod's report ({reason})");
            State::Ended(failed(reasons::EXECUTOR_LOST, &message))
        }
    }
}

/// What the destination's name has got by a pod that did not come to its end, as far as that could say it.
pub(crate) fn named(pods: &[Pod]) -> Option<Descriptor> {
    let pod = pods.iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone())?;
    let terminated = container(pod)?.state.as_ref()?.terminated.as_ref()?;
    Report::parse(terminated.message.as_deref()?)?.named().cloned()
}

/// Why a Job is over, if it is.
fn over(job: &Job) -> Option<&str> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let over = conditions
        .iter()
        .find(|it| it.status == "True" && matches!(it.type_.as_str(), "Failed" | "Complete"))?;
    Some(over.reason.as_deref().unwrap_or(&over.type_))
}

/// How a pod ended, if it has.
fn ended(pod: &Pod, gone_for: Duration) -> Option<Outcome> {
    let container = container(pod);
    let terminated = container.and_then(|it| it.state.as_ref()?.terminated.as_ref());
    if let Some(terminated) = terminated {
        let report = terminated.message.as_deref().and_then(Report::parse);
        return Some(match report {
            None => without_report(pod, terminated),
            // Whoever calls an attempt off doesn't look here any more.
            Some(Report::Cancelled { .. }) => {
                lost(&because(pod).unwrap_or_else(|| "its pod was told to end".to_owned()))
            }
            Some(report) => report.into_outcome(),
        });
    }
    let status = pod.status.as_ref();
    if status.and_then(|status| status.phase.as_deref()) == Some("Failed") {
        return Some(lost(&because(pod).unwrap_or_else(|| "its pod failed".to_owned())));
    }
    // Nobody on a node that is gone will ever say that the pod has ended.
    (is_going(pod) && gone_for > JOB_GRACE_PERIOD + JOB_LOST_AFTER)
        .then(|| lost(&because(pod).unwrap_or_else(|| "its node does not answer".to_owned())))
}

/// Whether a pod is being deleted.
fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the latest pod is being deleted.
pub(crate) fn latest_is_going(pods: &[Pod]) -> bool {
    latest(pods).is_some_and(is_going)
}

fn latest(pods: &[Pod]) -> Option<&Pod> {
    pods.iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone())
}

fn without_report(pod: &Pod, terminated: &ContainerStateTerminated) -> Outcome {
    let code = terminated.exit_code;
    if terminated.reason.as_deref() == Some("OOMKilled") {
        return lost("its pod needed more memory than its limit; raise the limit of Jobs");
    }
    if let Some(because) = because(pod) {
        return lost(&because);
    }
    if code == KILLED {
        return lost("its pod was killed; if that was for want of memory, raise the limit of Jobs");
    }
    lost(&format!("its pod ended with exit code {code} and no report; see its log"))
}

/// Why a pod was ended from outside, as the cluster says it.
fn because(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let disrupted = status
        .conditions
        .iter()
        .flatten()
        .find(|it| it.type_ == "DisruptionTarget" && it.status == "True");
    let told = |reason: Option<&String>, message: Option<&String>| match (reason, message) {
        (Some(reason), Some(message)) => Some(format!("its pod was ended: {reason}: {message}")),
        (Some(reason), None) => Some(format!("its pod was ended: {reason}")),
        (None, _) => None,
    };
    disrupted
        .and_then(|it| told(it.reason.as_ref(), it.message.as_ref()))
        .or_else(|| told(status.reason.as_ref(), status.message.as_ref()))
}

/// What a pod waits for that doesn't work.
fn waits_for(pod: &Pod) -> Option<String> {
    let container = container(pod).and_then(|it| it.state.as_ref());
    if container.is_some_and(|state| state.running.is_some()) {
        return None;
    }
    let waiting = container.and_then(|state| state.waiting.as_ref()).map(|waiting| {
        let reason = waiting.reason.as_deref().unwrap_or("Waiting");
        match waiting.message.as_deref() {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        }
    });
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let unscheduled = conditions
        .into_iter()
        .flatten()
        .find(|it| it.type_ == "PodScheduled" && it.status == "False")
        .and_then(|it| it.message.clone());
    Some(unscheduled.or(waiting).unwrap_or_else(|| "its pod has not started".to_owned()))
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == CONTAINER)
}

/// The attempt was lost; another one may do it.
pub(crate) fn lost(why: &str) -> Outcome {
    failed(reasons::EXECUTOR_LOST, &format!("the Job was lost: {why}"))
}

fn failed(reason: &'static str, message: &str) -> Outcome {
    Outcome::Failed(Failure::of_job(reason, message, Class::Transient))
}

#[cfg(test)]
mod tests;
