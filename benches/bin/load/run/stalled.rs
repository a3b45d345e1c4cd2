//! Receivers that never read, beside the load: what they cost the others is what is asked.

use std::time::{Duration, Instant};

use crate::run::Error;
use crate::run::args::Options;
use crate::run::fleet::Fleet;
use crate::run::scenario::{Text, join, open};

/// Between two pushes to the stalled.
const PAUSE: Duration = Duration::from_millis(10);

/// What the first pushes are, until the kernel takes no more for a connection that is not read, which
/// is after some 3 MB and so within a second; and those from then on. A server that parses a text
/// pays for long ones, and that is not what is asked.
const FILLING: usize = 48 << 10;
const FILLED: usize = 5 << 20;
const SIZE: usize = 1 << 10;

/// A channel of members who never read, and of one who does and makes the broadcasts.
#[derive(Debug)]
pub(crate) struct Stalled {
    keys: Vec<usize>,
    speaker: Option<usize>,
    route: String,
    text: String,
    pushed: usize,
    due: Instant,
}

impl Stalled {
    pub(crate) fn join(fleet: &mut Fleet, options: &Options) -> Result<Self, Error> {
        let mut stalled = Self {
            keys: Vec::new(),
            speaker: None,
            route: options.route("broadcast"),
            text: "x".repeat(FILLING),
            pushed: 0,
            due: Instant::now(),
        };
        if options.stalled > 0 {
            stalled.keys = open(fleet, options, options.stalled + 1)?;
            join(fleet, options, "stalled", &stalled.keys)?;
            let (speaker, silent) = stalled.keys.split_last().ok_or(Error::Stalled)?;
            stalled.speaker = Some(*speaker);
            for key in silent {
                fleet.stall(*key)?;
            }
        }
        Ok(stalled)
    }

    /// Whether the client is one of these, whatever becomes of them.
    pub(crate) fn has(&self, key: usize) -> bool {
        self.keys.contains(&key)
    }

    /// When the next push is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.speaker.map(|_| self.due)
    }

    /// Asks for the push that is due.
    pub(crate) fn speak(&mut self, fleet: &mut Fleet, now: Instant) -> Result<(), Error> {
        let Some(speaker) = self.speaker.filter(|_| now >= self.due) else {
            return Ok(());
        };
        self.due = now + PAUSE;
        if self.pushed >= FILLED {
            self.text.truncate(SIZE);
        }
        self.pushed += self.text.len();
        if let Some(client) = fleet.client(speaker) {
            client.request(&self.route, &Text { msg: &self.text }, now)?;
        }
        fleet.flush(speaker)
    }
}
