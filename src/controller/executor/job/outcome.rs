//! What the state of a Job and its pod means for the attempt. Pure.
//!
//! The pod's report counts wherever there is one. Without it the pod was ended from outside, and what that was is told:
//! nothing is known of the destination then but that its name has the old image or the new one, so another attempt is safe.
//! A pod that the cluster made go is no end: the Job makes another one in its place.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use super::object::{CONTAINER, DISRUPTED, OWN_EXIT_CODES};
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

/// How a pod ended.
enum End {
    /// It says itself what became of the push.
    Told(Outcome),
    /// From outside, and with it the attempt.
    Lost(Failure),
    /// From outside, and the Job makes another one in its place, unless it is over.
    Replaced(Failure),
}

/// Why a Job is over that took too long.
const LATE: &str = "DeadlineExceeded";

/// Reads the state of a Job and its pods, whose latest is being deleted since so long ago by our own clock. `disrupted` says
/// what made an earlier pod go; those that have ended are soon taken away.
pub(crate) fn state(job: &Job, pods: &[Pod], gone_for: Duration, disrupted: Option<&str>) -> State {
    let pod = latest(pods);
    let (over, late) = (over(job), is_late(job));
    let end = pod.and_then(|pod| ended(pod, gone_for));
    let replaced = matches!(end, Some(End::Replaced(_)));
    let has_ended = end.is_some();
    match end {
        Some(End::Told(outcome)) => return State::Ended(outcome),
        Some(End::Lost(failure)) if !late => return State::Ended(Outcome::Failed(failure)),
        Some(End::Replaced(failure)) if over.is_some() && !late => {
            return State::Ended(Outcome::Failed(failure));
        }
        _ => {}
    }
    let waits_for = match (pod.filter(|_| !replaced), disrupted) {
        (Some(_), _) if has_ended => None,
        (Some(pod), _) => waits_for(pod),
        (None, Some(why)) => Some(format!("another pod is to come, since {why}")),
        (None, None) => Some("it has no pod yet".to_owned()),
    };
    if late && (has_ended || over.is_some()) {
        let waited = waits_for.map_or(String::new(), |what| format!(": {what}"));
        let message = format!("the Job ran out of time before its pod ended{waited}");
        return State::Ended(failed(Kind::Timeout.as_str(), &message, disrupted.is_some()));
    }
    let Some(condition) = over else { return State::Going(waits_for) };
    let reason = condition.reason.as_deref().unwrap_or(&condition.type_);
    let mut message = format!("the Job ended without its pod's report ({reason})");
    for more in condition.message.as_deref().into_iter().chain(disrupted) {
        message.push_str("; ");
        message.push_str(more);
    }
    State::Ended(failed(reasons::EXECUTOR_LOST, &message, false))
}

/// What makes or made the latest pod go, if it is the cluster that does.
pub(crate) fn disruption(pods: &[Pod]) -> Option<String> {
    latest(pods).and_then(disrupted_by)
}

/// Whether the latest pod's container runs.
pub(crate) fn latest_works(pods: &[Pod]) -> bool {
    let state = latest(pods).and_then(container).and_then(|it| it.state.as_ref());
    state.is_some_and(|state| state.running.is_some())
}

/// What the destination's name has got by a pod that did not come to its end, as far as that could say it.
pub(crate) fn named(pods: &[Pod]) -> Option<Descriptor> {
    let pod = pods.iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone())?;
    let terminated = container(pod)?.state.as_ref()?.terminated.as_ref()?;
    Report::parse(terminated.message.as_deref()?)?.named().cloned()
}

/// How a Job is over, if it is.
fn over(job: &Job) -> Option<&JobCondition> {
    condition(job, |it| matches!(it.type_.as_str(), "Failed" | "Complete"))
}

/// Whether a Job has taken too long; its pods may still be ending.
fn is_late(job: &Job) -> bool {
    let late = |it: &JobCondition| it.reason.as_deref() == Some(LATE);
    condition(job, |it| late(it) && matches!(it.type_.as_str(), "Failed" | "FailureTarget"))
        .is_some()
}

fn condition(job: &Job, is_it: impl Fn(&JobCondition) -> bool) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|it| it.status == "True" && is_it(it))
}

/// How a pod ended, if it has.
fn ended(pod: &Pod, gone_for: Duration) -> Option<End> {
    let container = container(pod);
    let terminated = container.and_then(|it| it.state.as_ref()?.terminated.as_ref());
    if let Some(terminated) = terminated {
        let report = terminated.message.as_deref().and_then(Report::parse);
        return Some(match report {
            None => from_outside(pod, Some(terminated.exit_code), &without_report(terminated)),
            // Whoever calls an attempt off doesn't look here any more.
            Some(Report::Cancelled { .. }) => {
                from_outside(pod, Some(terminated.exit_code), "its pod was told to end")
            }
            Some(report) => End::Told(report.into_outcome()),
        });
    }
    let status = pod.status.as_ref();
    if status.and_then(|status| status.phase.as_deref()) == Some("Failed") {
        return Some(from_outside(pod, None, "its pod failed"));
    }
    // Nobody on a node that is gone will ever say that the pod has ended, and no other one comes before.
    (is_going(pod) && gone_for > JOB_GRACE_PERIOD + JOB_LOST_AFTER).then(|| {
        let message = because(pod).unwrap_or_else(|| "its node does not answer".to_owned());
        End::Lost(Failure { disrupted: true, ..lost_by(&message) })
    })
}

/// The end of a pod that says nothing of the push, with the cause as the cluster has it, or else in these words.
fn from_outside(pod: &Pod, exit_code: Option<i32>, otherwise: &str) -> End {
    let message = because(pod).unwrap_or_else(|| otherwise.to_owned());
    let failure = lost_by(&message);
    let own = exit_code.is_some_and(|code| OWN_EXIT_CODES.contains(&code));
    if own || disrupted_by(pod).is_none() {
        return End::Lost(failure);
    }
    End::Replaced(Failure { disrupted: true, ..failure })
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

fn without_report(terminated: &ContainerStateTerminated) -> String {
    let code = terminated.exit_code;
    if terminated.reason.as_deref() == Some("OOMKilled") {
        return "its pod needed more memory than its limit; raise the limit of Jobs".to_owned();
    }
    if code == KILLED {
        return "its pod was killed; if that was for want of memory, raise the limit of Jobs"
            .to_owned();
    }
    format!("its pod ended with exit code {code} and no report; see its log")
}

/// Why a pod was ended from outside, as the cluster says it.
fn because(pod: &Pod) -> Option<String> {
    let terminated = container(pod).and_then(|it| it.state.as_ref()?.terminated.as_ref());
    if terminated.is_some_and(|it| it.reason.as_deref() == Some("OOMKilled")) {
        return None;
    }
    let status = pod.status.as_ref()?;
    disrupted_by(pod).or_else(|| told(status.reason.as_deref(), status.message.as_deref()))
}

/// What made a pod go, if it was the cluster: a drain, a preemption, a node in need.
fn disrupted_by(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|it| it.type_ == DISRUPTED && it.status == "True")?;
    told(Some(found.reason.as_deref().unwrap_or(DISRUPTED)), found.message.as_deref())
}

fn told(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    let reason = reason?;
    Some(match message {
        Some(message) => format!("its pod was ended: {reason}: {message}"),
        None => format!("its pod was ended: {reason}"),
    })
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
    Outcome::Failed(lost_by(why))
}

fn lost_by(why: &str) -> Failure {
    let message = format!("the Job was lost: {why}");
    Failure::of_job(reasons::EXECUTOR_LOST, &message, Class::Transient)
}

fn failed(reason: &'static str, message: &str, disrupted: bool) -> Outcome {
    let failure = Failure::of_job(reason, message, Class::Transient);
    Outcome::Failed(Failure { disrupted, ..failure })
}

#[cfg(test)]
mod tests;
