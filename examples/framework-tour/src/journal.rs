//! What the game writes down while it runs, and what the tour waits for instead of sleeping.

use tokio::sync::watch;

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Start,
    Stop,
    Servers,
    Session,
    Room,
    Filter,
    Rpc,
    Push,
    Cron,
}

/// A game that runs for long keeps the latest.
const CAPACITY: usize = 1000;

/// Notes in the order in which they were made; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(watch::Sender<Vec<(Topic, String)>>);

impl Journal {
    pub(crate) fn write(&self, topic: Topic, note: impl Into<String>) {
        let note = note.into();
        self.0.send_modify(|notes| {
            if notes.len() == CAPACITY {
                notes.remove(0);
            }
            notes.push((topic, note));
        });
    }

    /// Takes the notes of a topic out.
    pub(crate) fn take(&self, topic: Topic) -> Vec<String> {
        let mut taken = Vec::new();
        self.0.send_modify(|notes| {
            for (of, note) in std::mem::take(notes) {
                if of == topic {
                    taken.push(note);
                } else {
                    notes.push((of, note));
                }
            }
        });
        taken
    }

    /// Waits until there are this many notes of a topic, and takes them out.
    pub(crate) async fn wait(&self, topic: Topic, count: usize) -> Vec<String> {
        let mut notes = self.0.subscribe();
        let there = |notes: &Vec<(Topic, String)>| {
            notes.iter().filter(|(of, _)| *of == topic).count() >= count
        };
        // Fails only without a sender, and this journal is one.
        drop(notes.wait_for(there).await);
        self.take(topic)
    }
}
