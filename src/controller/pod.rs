//! The one attempt that the pod of a Job makes: what `imagepush attempt` does.
//!
//! The steps of a look at an object, with what the pod has been given: the task from a file, its Secrets from a folder, its
//! volumes below fixed paths. It talks to registries only, never to the cluster; how it ended it leaves in a message.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::core::ObjectMeta;
use tokio_util::sync::CancellationToken;

use super::decide::Outcome;
use super::delivery::deliver;
use super::executor::RealEngine;
use super::executor::report::Report;
pub use super::executor::{SECRETS_FOLDER, SecretFacts, TASK_FILE, Task};
use super::failure::Failure;
pub use super::place::VOLUMES;
use super::place::confined;
use super::resolve::{self, Secrets};
use super::status::timed_out;
use super::validate;
use crate::access::{Access, Network};
use crate::engine::{Event, Progress, Wanted};
use crate::error::{Error, Kind, Result, Side};
use crate::image::{Descriptor, ParsePlatformError};
use crate::limits::{MAX_SECRET, MAX_TASK};
use crate::options::{Platforms, PushOptions};

/// Where the pod finds what it was given.
#[derive(Clone, Copy, Debug)]
pub struct Folders<'a> {
    /// A folder for each Secret, with a file for each of its keys.
    pub secrets: &'a Path,
    /// A folder for each side that has a volume.
    pub volumes: &'a Path,
    /// The most bytes that the folder for temporary files may take.
    pub scratch_bytes: Option<u64>,
}

/// How an attempt ended.
pub struct Ended {
    /// What the pod leaves as its termination message.
    pub message: String,
    /// What went wrong, if anything did.
    pub outcome: Result<()>,
}

/// Reads the task of a pod.
pub fn read_task(path: &Path) -> Result<Task> {
    let text = read(path, MAX_TASK)?;
    serde_json::from_slice(&text).map_err(|cause| {
        let message = format!("`{}` is not a task: {cause}", path.display());
        Error::new(Kind::InvalidOptions, message)
    })
}

/// Makes the attempt.
pub async fn run(
    task: &Task,
    folders: Folders<'_>,
    network: &Network,
    progress: &Arc<dyn Progress>,
    cancel: &CancellationToken,
) -> Ended {
    let naming = Arc::new(Naming { told: progress.clone(), named: Mutex::default() });
    let progress: Arc<dyn Progress> = naming.clone();
    let ended = match options(task, folders, network) {
        Ok(options) => push(task, &options, &progress, cancel).await,
        Err(failure) => Err(failure),
    };
    let (outcome, result) = match ended {
        Ok(outcome) => (outcome, Ok(())),
        Err((failure, error)) if error.kind() == Kind::Cancelled => {
            drop(failure);
            (Outcome::Cancelled, Err(error))
        }
        Err((failure, error)) => (Outcome::Failed(failure), Err(error)),
    };
    let result = match &outcome {
        Outcome::Failed(failure) if result.is_ok() => {
            Err(Error::new(Kind::DestinationExists, failure.message.clone()))
        }
        _ => result,
    };
    let named = naming.named.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ended { message: Report::of(&outcome).naming(named).to_message(), outcome: result }
}

/// Listens for what the destination's name gets, and passes everything on.
struct Naming {
    told: Arc<dyn Progress>,
    named: Mutex<Option<Descriptor>>,
}

impl Progress for Naming {
    fn event(&self, event: Event<'_>) {
        if let Event::Named { manifest } = &event {
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            *named = Some((*manifest).clone());
        }
        self.told.event(event);
    }
}

/// A failure as status tells it, and as the command line does.
type Fault = (Failure, Error);

/// Whoever gives a volume more room or other permissions changes nothing that the operator sees: it is worth trying again.
fn fault(error: Error) -> Fault {
    let error = match error.kind() {
        Kind::StorageFailed => error.transient(),
        _ => error,
    };
    (Failure::from(&error), error)
}

fn of_secret(failure: Failure) -> Fault {
    let error = Error::new(Kind::InvalidOptions, failure.message.clone());
    (failure, error)
}

fn options(task: &Task, folders: Folders<'_>, network: &Network) -> Result<PushOptions, Fault> {
    let secrets = read_secrets(task, folders.secrets).map_err(fault)?;
    let spec = &task.spec;
    let source = resolve::access(&spec.source, &secrets, network).map_err(of_secret)?;
    let destination = resolve::access(&spec.destination, &secrets, network).map_err(of_secret)?;
    let source = confined(source, &spec.source, Side::Source, folders.volumes);
    let destination = confined(destination, &spec.destination, Side::Destination, folders.volumes);
    let scratch_bytes = folders.scratch_bytes;
    let source = Access { scratch_bytes, ..source };
    let destination = Access { scratch_bytes, ..destination };
    let mut options = validate::options(spec, source, destination).map_err(fault)?;
    if let (Platforms::One(platform), Some(text)) = (&mut options.platforms, &task.platform) {
        let wrong = |cause: ParsePlatformError| Error::new(Kind::InvalidOptions, cause.to_string());
        *platform = text.parse().map_err(wrong).map_err(fault)?;
    }
    Ok(options)
}

async fn push(
    task: &Task,
    options: &PushOptions,
    progress: &Arc<dyn Progress>,
    cancel: &CancellationToken,
) -> Result<Outcome, Fault> {
    let timeout = Duration::from_secs(task.timeout_seconds);
    // Whoever leads has made the Job, and ends it when it is not wanted any more.
    let wanted = Wanted::until_cancelled(cancel);
    let work = deliver(&RealEngine, options, &task.delivery, progress, &wanted);
    let ended = tokio::time::timeout(timeout, work).await;
    ended.unwrap_or_else(|_| Err(timed_out(timeout))).map_err(fault)
}

/// The Secrets of a task, as far as their files are there: what is missing is told by whoever needs it.
fn read_secrets(task: &Task, folder: &Path) -> Result<Secrets> {
    let mut secrets = Secrets { accounts: task.accounts.clone(), ..Secrets::default() };
    for (name, facts) in &task.secrets {
        let SecretFacts { kind, annotations, keys } = facts;
        let mut secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                annotations: Some(annotations.clone()),
                ..ObjectMeta::default()
            },
            type_: kind.clone(),
            ..Secret::default()
        };
        for key in keys {
            let path = folder.join(name).join(key);
            match read(&path, MAX_SECRET) {
                Ok(value) => {
                    secret.data.get_or_insert_default().insert(key.clone(), ByteString(value));
                }
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if keys.is_empty() || secret.data.is_some() {
            secrets.insert(name.clone(), secret);
        }
    }
    Ok(secrets)
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|cause| Error::io("open", path, &cause))?;
    let mut bytes = vec![];
    let read = file.take(max + 1).read_to_end(&mut bytes);
    read.map_err(|cause| Error::io("read", path, &cause))?;
    if bytes.len() as u64 > max {
        let message = format!("`{}` is larger than {max} bytes", path.display());
        return Err(Error::new(Kind::LimitExceeded, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
