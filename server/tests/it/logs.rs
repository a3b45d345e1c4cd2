//! What the server logs, for tests about it.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// Events of this thread: target, and a line of level and fields.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<Vec<(String, String)>>>);

impl Logs {
    /// From now until the guard is dropped.
    pub fn capture() -> (Self, DefaultGuard) {
        share_callsites();
        let logs = Self::default();
        let guard = tracing::subscriber::set_default(logs.clone());
        (logs, guard)
    }

    /// The lines of a target so far.
    pub fn take(&self, target: &str) -> Vec<String> {
        let mut all = self.0.lock().unwrap();
        let taken = all.iter().filter(|(of, _)| of == target);
        let lines = taken.map(|(_, line)| line.clone()).collect();
        all.retain(|(of, _)| of != target);
        lines
    }
}

/// Makes tracing ask every subscriber about each place that logs.
///
/// While there has been only one in the process, tracing asks that of the thread that first comes
/// by, and forgets the place for all threads if that thread has none: here another test's.
pub fn share_callsites() {
    static OTHER: OnceLock<Dispatch> = OnceLock::new();
    OTHER.get_or_init(|| Dispatch::new(NoSubscriber::default()));
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Logs {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line(format!("{:5}", metadata.level()));
        event.record(&mut line);
        let entry = (metadata.target().to_owned(), line.0);
        self.0.lock().unwrap().push(entry);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
