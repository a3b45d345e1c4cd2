//! A subscriber of `tracing` that keeps what it hears, to show what the server logs. A real game
//! would take `tracing-subscriber` here.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// One span or event.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) target: &'static str,
    /// The fields; a span's name is before them, an event's message among them.
    pub(crate) text: String,
}

/// Clones share the lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Line>>>);

impl Log {
    /// The lines of a target so far.
    pub(crate) fn of(&self, target: &str) -> Vec<Line> {
        let lines = self.lines();
        let of = lines.iter().filter(|line| line.target.starts_with(target));
        of.cloned().collect()
    }

    /// Whether this text is anywhere.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.text.contains(text))
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, metadata: &Metadata<'static>, text: String) -> u64 {
        let mut lines = self.lines();
        lines.push(Line {
            level: *metadata.level(),
            target: metadata.target(),
            text,
        });
        lines.len() as u64
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // A write to a String cannot fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = ["pomelo_server", "con-log", "rpc-log"];
        *metadata.level() <= Level::INFO && ours.iter().any(|of| metadata.target().starts_with(of))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = span.metadata().name().to_owned();
        span.record(&mut Fields(&mut text));
        Id::from_u64(self.add(span.metadata(), text))
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut Fields(&mut text));
        self.add(event.metadata(), text);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
