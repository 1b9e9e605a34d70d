//! What the API server is asked about Jobs and their pods.
//!
//! Everything may be asked again: creating a Job that is there finds it, deleting one that is gone does nothing.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::Status;
use kube::core::response::reason;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::time::sleep;

use super::object::{self, UID_LABEL};
use crate::api::reasons;
use crate::api::v1alpha1::ImagePush;
use crate::controller::failure::Failure;
use crate::error::{Class, Kind};
use crate::limits::{API_DEADLINE, JOB_POLL, MAX_CONFLICTS};

/// The Jobs and pods of a namespace.
pub(super) struct Cluster {
    jobs: Api<Job>,
    pods: Api<Pod>,
    events: Api<Event>,
    claims: Api<PersistentVolumeClaim>,
}

/// How a quota refuses: there is no code of its own for it in the API server's answer.
const EXCEEDED_QUOTA: &str = "exceeded quota";

// === impl Cluster ===

impl Cluster {
    pub(super) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            events: Api::namespaced(client.clone(), namespace),
            claims: Api::namespaced(client.clone(), namespace),
        }
    }

    /// The Jobs for an object.
    pub(super) async fn jobs_of(&self, uid: &str) -> Result<Vec<Job>, Failure> {
        self.list(&format!("{UID_LABEL}={uid}")).await
    }

    async fn list(&self, labels: &str) -> Result<Vec<Job>, Failure> {
        let parameters = ListParams::default().labels(labels);
        let listed = within(self.jobs.list(&parameters)).await;
        Ok(listed.map_err(|cause| cause.while_doing("listing Jobs"))?.items)
    }

    /// Whether a claim is there.
    pub(super) async fn has_claim(&self, name: &str) -> Result<bool, Failure> {
        let found = within(self.claims.get_opt(name)).await;
        Ok(found.map_err(|cause| cause.while_doing(&format!("reading claim `{name}`")))?.is_some())
    }

    /// Creates a Job, or finds that it is there already.
    pub(super) async fn create(&self, job: &Job) -> Result<Job, Failure> {
        let name = job.name_any();
        let doing = format!("creating Job `{name}`");
        for conflicts in 0.. {
            let refused = match within(self.jobs.create(&PostParams::default(), job)).await {
                Err(Refused::Answer(answer)) if answer.code == 409 => answer,
                created => return created.map_err(|cause| cause.while_doing(&doing)),
            };
            if refused.reason == reason::ALREADY_EXISTS {
                let found = within(self.jobs.get_opt(&name)).await;
                if let Some(found) = found.map_err(|cause| cause.while_doing(&doing))? {
                    return same(found, job);
                }
            }
            // It has gone in this moment, or a quota was counted by two at once.
            if conflicts >= MAX_CONFLICTS {
                return Err(Refused::Answer(refused).while_doing(&doing));
            }
        }
        Err(Refused::Lost("it was not created".to_owned()).while_doing(&doing))
    }

    /// A Job and its pods; `None` if it is gone.
    pub(super) async fn look_at(&self, name: &str) -> Result<Option<(Job, Vec<Pod>)>, Failure> {
        let doing = format!("looking at Job `{name}`");
        let found = within(self.jobs.get_opt(name)).await;
        let Some(job) = found.map_err(|cause| cause.while_doing(&doing))? else { return Ok(None) };
        let uid = job.uid().unwrap_or_default();
        let parameters =
            ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
        let pods = within(self.pods.list(&parameters)).await;
        Ok(Some((job, pods.map_err(|cause| cause.while_doing(&doing))?.items)))
    }

    /// Why a Job gets no pod, if the cluster says so.
    pub(super) async fn refusal(&self, job: &Job) -> Option<Failure> {
        let uid = job.uid()?;
        let parameters = ListParams::default()
            .fields(&format!("involvedObject.uid={uid},reason=FailedCreate"))
            .limit(10);
        let events = within(self.events.list(&parameters)).await.ok()?;
        let message = events.items.into_iter().find_map(|event| event.message)?;
        let reason = reason_of(&message);
        Some(Failure::of_job(reason, &format!("the Job gets no pod: {message}"), Class::Transient))
    }

    /// Deletes a Job, which stays until its pods are gone.
    pub(super) async fn delete(&self, job: &Job) -> Result<(), Failure> {
        if job.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        self.delete_by(&job.name_any(), job.uid()).await
    }

    /// Deletes the Job that has this name and this identity.
    pub(super) async fn delete_by(&self, name: &str, uid: Option<String>) -> Result<(), Failure> {
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        match within(self.jobs.delete(name, &parameters)).await {
            Ok(_) => Ok(()),
            // Gone, or another one has its name.
            Err(Refused::Answer(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
            Err(cause) => Err(cause.while_doing(&format!("deleting Job `{name}`"))),
        }
    }

    /// Waits until a Job that was deleted is gone, with its pods.
    pub(super) async fn wait_until_gone(&self, job: &Job) -> Result<(), Failure> {
        let name = job.name_any();
        loop {
            let found = within(self.jobs.get_opt(&name)).await;
            let found =
                found.map_err(|cause| cause.while_doing(&format!("deleting Job `{name}`")))?;
            if found.is_none_or(|found| found.uid() != job.uid()) {
                return Ok(());
            }
            sleep(JOB_POLL).await;
        }
    }

    /// Who uses the volume of this label: a Job that goes on, or a pod that has outlived its Job.
    pub(super) async fn user_of(&self, label: &str) -> Result<Option<String>, Failure> {
        let jobs = self.list(label).await?;
        if let Some(job) = jobs.iter().find(|job| is_of_an_image_push(job) && goes_on(job)) {
            return Ok(Some(format!("the Job `{}`", job.name_any())));
        }
        let parameters = ListParams::default().labels(label);
        let pods = within(self.pods.list(&parameters)).await;
        let pods = pods.map_err(|cause| cause.while_doing("listing pods"))?;
        let pod = pods
            .items
            .iter()
            .find(|pod| pod.metadata.deletion_timestamp.is_some() && !is_over(pod));
        Ok(pod.map(|pod| format!("the pod `{}`", pod.name_any())))
    }
}

/// A Job that was to be created is there: it has to be the same. Names are short, and anybody may have made it.
fn same(found: Job, wanted: &Job) -> Result<Job, Failure> {
    let is_ours = object::is_same(&found, wanted) && found.metadata.deletion_timestamp.is_none();
    if is_ours {
        return Ok(found);
    }
    let message = format!("another Job has the name `{}`", found.name_any());
    Err(Failure::of_job(reasons::EXECUTOR_LOST, &message, Class::Transient))
}

/// Anybody may give a Job of theirs our labels.
fn is_of_an_image_push(job: &Job) -> bool {
    let owners = job.owner_references();
    owners.iter().any(|owner| owner.controller == Some(true) && owner.kind == ImagePush::kind(&()))
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn goes_on(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let over = |type_: &str| matches!(type_, "Complete" | "Failed");
    !conditions.into_iter().flatten().any(|it| it.status == "True" && over(&it.type_))
}

fn reason_of(message: &str) -> &'static str {
    if message.contains(EXCEEDED_QUOTA) { reasons::QUOTA_EXCEEDED } else { reasons::EXECUTOR_LOST }
}

/// Why a request of ours came to nothing.
pub(super) enum Refused {
    /// The API server said so.
    Answer(Box<Status>),
    /// It was not reached, or did not answer.
    Lost(String),
}

// === impl Refused ===

impl Refused {
    pub(super) fn while_doing(&self, doing: &str) -> Failure {
        match self {
            Self::Answer(answer) => {
                let message = format!("{doing}: {}", answer.message);
                let (reason, class) = meaning(answer);
                Failure::of_job(reason, &message, class)
            }
            Self::Lost(cause) => {
                let message = format!("{doing}: {cause}");
                Failure::of_job(reasons::EXECUTOR_LOST, &message, Class::Transient)
            }
        }
    }
}

/// The reason that a refusal is told with, and whether it may pass.
fn meaning(answer: &Status) -> (&'static str, Class) {
    match answer.code {
        403 if answer.message.contains(EXCEEDED_QUOTA) => {
            (reasons::QUOTA_EXCEEDED, Class::Transient)
        }
        // What is wrong with it stays wrong until the operator's settings or the object change.
        400 | 422 if names_a_field(answer) => (Kind::InvalidOptions.as_str(), Class::Permanent),
        // An admission policy refuses with any of these, and nobody is told when it is changed.
        400 | 403 | 422 => (Kind::AccessDenied.as_str(), Class::Transient),
        _ => (reasons::EXECUTOR_LOST, Class::Transient),
    }
}

/// Whether it is the object's own schema that refuses: that names the fields, and policies don't.
fn names_a_field(answer: &Status) -> bool {
    let causes = answer.details.as_ref().map_or(&[][..], |details| &details.causes);
    causes.iter().any(|cause| !cause.field.is_empty())
}

/// Waits for an answer for as long as is worth it.
pub(super) async fn within<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Refused> {
    match tokio::time::timeout(API_DEADLINE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(answer))) => Err(Refused::Answer(answer)),
        Ok(Err(cause)) => Err(Refused::Lost(cause.to_string())),
        Err(_) => Err(Refused::Lost("the API server does not answer".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_refusal_says_whether_it_may_pass() {
        let because = |cause: Value| json!({"causes": [cause]});
        let field = because(json!({"reason": "FieldValueInvalid", "field": "spec.x"}));
        let policy = because(json!({"message": "ValidatingAdmissionPolicy 'p' denied request"}));
        let quota = "jobs.batch \"j\" is forbidden: exceeded quota: few";
        let cases = [
            (422, "invalid", field.clone(), ("InvalidOptions", Class::Permanent)),
            (400, "invalid", field, ("InvalidOptions", Class::Permanent)),
            (422, "denied", policy, ("AccessDenied", Class::Transient)),
            (400, "admission webhook denied", Value::Null, ("AccessDenied", Class::Transient)),
            (403, "may not", Value::Null, ("AccessDenied", Class::Transient)),
            (403, quota, Value::Null, ("QuotaExceeded", Class::Transient)),
            (500, "etcd", Value::Null, ("ExecutorLost", Class::Transient)),
        ];
        for (code, message, details, expected) in cases {
            let answer = json!({"code": code, "message": message, "details": details});
            let answer: Status = serde_json::from_value(answer).unwrap();
            assert_eq!(meaning(&answer), expected, "{code} {message}");
        }
    }
}
