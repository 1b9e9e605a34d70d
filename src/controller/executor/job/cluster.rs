//! What the API server is asked about Jobs and their pods.
//!
//! Everything may be asked again: creating a Job that is there finds it, deleting one that is gone does nothing.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::Status;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::sleep;

use super::object::UID_LABEL;
use crate::api::reasons;
use crate::controller::failure::Failure;
use crate::error::{Class, Kind};
use crate::limits::{API_DEADLINE, JOB_POD_WAIT, JOB_POLL};

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

    /// Creates a Job; one of the same name is the same one.
    pub(super) async fn create(&self, job: &Job) -> Result<Job, Failure> {
        let name = job.name_any();
        let created = match within(self.jobs.create(&PostParams::default(), job)).await {
            Err(Refused::Answer(answer)) if answer.code == 409 => {
                within(self.jobs.get(&name)).await
            }
            created => created,
        };
        created.map_err(|cause| cause.while_doing(&format!("creating Job `{name}`")))
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

    /// Why a Job gets no pod, if it has been waiting for one for a while and the cluster says so.
    pub(super) async fn refusal(&self, job: &Job, pods: &[Pod]) -> Option<Failure> {
        let created = job.metadata.creation_timestamp.as_ref()?.0;
        let age = Duration::try_from(Timestamp::now().duration_since(created)).ok()?;
        if !pods.is_empty() || age < JOB_POD_WAIT {
            return None;
        }
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
        let name = job.name_any();
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(Preconditions { uid: job.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        match within(self.jobs.delete(&name, &parameters)).await {
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

    /// Waits until no Job that goes on has this label. Those of this operator take turns by themselves: this is for what
    /// an earlier one has left.
    pub(super) async fn wait_until_unused(&self, label: &str) -> Result<(), Failure> {
        while self.list(label).await?.iter().any(goes_on) {
            sleep(JOB_POLL).await;
        }
        Ok(())
    }
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
enum Refused {
    /// The API server said so.
    Answer(Box<Status>),
    /// It was not reached, or did not answer.
    Lost(String),
}

// === impl Refused ===

impl Refused {
    fn while_doing(&self, doing: &str) -> Failure {
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
async fn within<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Refused> {
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
