//! Gets ready what an attempt needs: Secrets, the options made with them, and where it runs.

use std::path::Path;

use kube::ResourceExt as _;

use super::delivery::{Delivery, clues, known};
use super::executor::Task;
use super::failure::Failure;
use super::place::{Place, VOLUMES, confined, place};
use super::reconcile::{Context, timeout};
use super::resolve::Unresolved;
use super::{digests, resolve, validate};
use crate::api::v1alpha1::ImagePush;
use crate::error::Side;
use crate::options::PushOptions;

/// What an attempt needs.
pub(crate) struct Prepared {
    pub(crate) options: PushOptions,
    pub(crate) delivery: Delivery,
    /// Digest of how the sides are reached.
    pub(crate) access: String,
    /// What its Job is told to do, if it is to have one.
    pub(crate) task: Option<Task>,
}

/// Reads what the object names, and makes options of it.
pub(crate) async fn prepare(object: &ImagePush, context: &Context) -> Result<Prepared, Unresolved> {
    let (spec, network) = (&object.spec, &context.network);
    let namespace = object.namespace().unwrap_or_default();
    let secrets = resolve::secrets(&context.client, &namespace, spec).await?;
    // Only the pod of a Job has the volumes; what is a file here is none of an object's business.
    let on = |location, side| {
        let access = resolve::access(location, &secrets, network)?;
        Ok::<_, Failure>(confined(access, location, side, Path::new(VOLUMES)))
    };
    let source = on(&spec.source, Side::Source)?;
    let destination = on(&spec.destination, Side::Destination)?;
    let (options, place) = validate::options(spec, source, destination)
        .and_then(|options| {
            validate::permitted(&options)?;
            let place = place(spec, &namespace, &options, &context.jobs)?;
            Ok((options, place))
        })
        .map_err(|error| Failure::from(&error))?;
    let known = known(object, &digests::push(object));
    let clues = clues(object, &known);
    let delivery = Delivery { mode: spec.mode, overwrite: spec.overwrite_policy, known, clues };
    let task = match place {
        Place::InProcess => None,
        Place::Job => Some(Task::new(object, &secrets, delivery.clone(), timeout(object, context))),
    };
    let access = digests::access(object, &resolve::fingerprint(&secrets));
    Ok(Prepared { options, delivery, access, task })
}
