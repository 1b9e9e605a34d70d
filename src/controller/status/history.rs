//! The last attempts that brought something new.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Draft;
use crate::api::v1alpha1::HistoryEntry;
use crate::limits::MAX_HISTORY;

// === impl Draft ===

impl Draft {
    /// Remembers how an attempt ended; one that ends like the one before it counts with that.
    pub(crate) fn remember(&mut self, result: &str, digest: Option<String>) {
        let last_time = Time(self.now);
        let duration = self.took.map(|took| {
            let milliseconds = took.subsec_millis() * u32::from(took.as_secs() == 0);
            let shown = std::time::Duration::new(took.as_secs(), milliseconds * 1_000_000);
            humantime::format_duration(shown).to_string()
        });
        let history = &mut self.status.history;
        let alike = history.first_mut().filter(|it| it.result == result && it.digest == digest);
        if let Some(entry) = alike {
            entry.count = entry.count.saturating_add(1);
            (entry.last_time, entry.duration) = (last_time, duration);
            return;
        }
        let entry =
            HistoryEntry { result: result.to_owned(), digest, count: 1, last_time, duration };
        history.insert(0, entry);
        history.truncate(MAX_HISTORY);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::api::v1alpha1::ImagePush;

    #[test]
    fn equal_ends_in_a_row_are_one_and_the_list_has_an_end() {
        let side = json!({"reference": "docker://a.example/x:1"});
        let spec = json!({"source": side, "destination": side});
        let object = ImagePush::new("x", serde_json::from_value(spec).unwrap());
        let mut draft = Draft::new(&object, Timestamp::from_second(1).unwrap());
        draft.took = Some(Duration::from_millis(65_432));
        draft.remember("Timeout", None);
        draft.now = Timestamp::from_second(9).unwrap();
        draft.took = Some(Duration::from_millis(120));
        draft.remember("Timeout", None);
        let entry =
            |result: &str, digest: Option<&str>, count, duration: Option<&str>| HistoryEntry {
                result: result.into(),
                digest: digest.map(str::to_owned),
                count,
                last_time: Time(Timestamp::from_second(9).unwrap()),
                duration: duration.map(str::to_owned),
            };
        assert_eq!(draft.status.history, [entry("Timeout", None, 2, Some("120ms"))]);
        draft.took = None;
        for digest in ["a", "b", "c", "d", "e"] {
            draft.remember("PushSucceeded", Some(digest.into()));
        }
        let pushed = |digest| entry("PushSucceeded", Some(digest), 1, None);
        assert_eq!(draft.status.history, ["e", "d", "c", "b", "a"].map(pushed));
    }
}
