//! An attempt that is to be made.

use std::time::Duration;

use kube_runtime::reflector::ObjectRef;

use super::JobOrder;
use crate::api::v1alpha1::{ImagePush, Mode};
use crate::controller::delivery::Delivery;
use crate::controller::resources::Orders;
use crate::options::{Endpoint, PushOptions};
use crate::telemetry::{Place, Value};

/// An attempt to be made.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) object: ObjectRef<ImagePush>,
    pub(crate) uid: String,
    /// Digest of what the spec asks for: an attempt for another one is out of date.
    pub(crate) work: String,
    pub(crate) options: PushOptions,
    pub(crate) delivery: Delivery,
    pub(crate) timeout: Duration,
    /// What is to become of the image's bundle in the cluster; nothing if not set.
    pub(crate) apply: Option<Orders>,
    /// What its Job is made of, if it is to have one.
    pub(crate) job: Option<JobOrder>,
    /// The look that has ordered it.
    pub(crate) trace: Place,
}

/// The Job of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobId {
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The trace that its pod belongs to, if it says so.
    pub(crate) trace: Option<Place>,
}

// === impl Order ===

impl Order {
    /// Where it runs.
    pub(crate) fn executor(&self) -> &'static str {
        if self.job.is_some() { "Job" } else { "InProcess" }
    }

    /// What its span says of it.
    pub(super) fn traits(&self) -> [(&'static str, Value); 6] {
        let transport = |end: &Endpoint| end.reference.transport().name().into();
        [
            ("k8s.namespace.name", self.object.namespace.clone().unwrap_or_default().into()),
            ("imagepush.name", self.object.name.clone().into()),
            ("imagepush.uid", self.uid.clone().into()),
            ("imagepush.executor", self.executor().into()),
            ("imagepush.source.transport", transport(&self.options.source)),
            ("imagepush.destination.transport", transport(&self.options.destination)),
        ]
    }

    /// Whether nothing is to be written.
    pub(crate) fn is_preview(&self) -> bool {
        self.delivery.mode == Mode::DryRun
    }
}
