//! A namespace that is being deleted, by a server of our own: it takes nothing new.

use serde_json::json;
use tokio::time::sleep;

use super::job_faults::{Running, between, end, jobs, next_job, pushed, told, until_ready_is};
use super::watching::SECOND;
use crate::support::api_double::{Act, ApiDouble};

/// What a real server answers to who would make something there.
fn ending() -> Act {
    let answer = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
        "reason": "Forbidden", "message": "forbidden: unable to create new content in namespace n because it is being terminated",
        "details": {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace",
            "message": "namespace n is being terminated"}]}});
    Act::Answer(403, vec![], answer.to_string())
}

/// Once it has been said, nothing is begun for objects that were there then, whatever is edited or asked for; objects of a new
/// namespace of the same name are pushed.
#[tokio::test(start_paused = true)]
async fn nothing_is_begun_in_a_namespace_that_ends() {
    let api = ApiDouble::new();
    let operator = Running::start(&api);
    api.put("b", &between("b", &json!({"suspend": true})));
    until_ready_is(&api, "b", "Suspended").await;
    for what in ["POST jobs", "POST events"] {
        api.fail(what, usize::MAX, ending());
    }
    api.put("a", &between("a", &json!({})));
    until_ready_is(&api, "a", "AccessDenied").await;
    assert!(told(&api, "a", "Ready").1.contains("because it is being terminated"));
    let asked = api.asked("POST jobs").len();
    api.put("a", &between("a2", &json!({})));
    api.put("b", &between("b", &json!({})));
    sleep(3600 * SECOND).await;
    assert_eq!(api.asked("POST jobs").len(), asked);
    assert_eq!(told(&api, "b", "Ready").0, "Suspended", "it is not called under way");
    for name in ["a", "b"] {
        api.delete(name);
    }
    api.heal();
    sleep(SECOND).await;
    api.put("b", &between("c", &json!({})));
    let job = next_job(&api, "b", &[]).await;
    end(&api, &job, &pushed("0"));
    until_ready_is(&api, "b", "PushSucceeded").await;
    assert_eq!(jobs(&api, "a").len(), 0);
    operator.stop().await;
}
