//! How the connections of a listener end with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// What a listener tells all its connections, and how many they are.
///
/// A set of tasks would hold a list entry for each connection. This is one load for each turn of a
/// connection, and a reference count.
#[derive(Debug)]
pub(crate) struct Stop {
    /// How long requests may take then, unless the connector says otherwise.
    pub(crate) drain: Duration,
    ordered: AtomicBool,
    cut: AtomicBool,
    told: Arc<Notify>,
    connections: AtomicUsize,
    last: Notify,
}

/// Waits for the next order; ready when it is given, and not if it was given before.
pub(crate) type Told = OwnedNotified;

impl Stop {
    pub(crate) fn new(drain: Duration) -> Self {
        Self {
            drain,
            ordered: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            told: Arc::default(),
            connections: AtomicUsize::new(0),
            last: Notify::new(),
        }
    }

    /// Orders connections to end in good order. Those with a session have to be woken to see it.
    pub(crate) fn order(&self) {
        self.ordered.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    pub(crate) fn is_ordered(&self) -> bool {
        self.ordered.load(Ordering::Acquire)
    }

    /// Orders connections to end where they are. Those with a session have to be woken to see it.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.order();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(crate) fn told(&self) -> Told {
        Arc::clone(&self.told).notified_owned()
    }

    /// Waits for the order to end in good order. Cancel safe.
    pub(crate) async fn ordered(&self) {
        let told = self.told.notified();
        // Behind `notified`, which hears every order from then on.
        if !self.is_ordered() {
            told.await;
        }
    }

    /// Waits for the order to end at once. Cancel safe.
    pub(crate) async fn cut_off(&self) {
        loop {
            let told = self.told.notified();
            if self.is_cut() {
                return;
            }
            told.await;
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Waits until there is no connection. Cancel safe.
    pub(crate) async fn all_ended(&self) {
        loop {
            let last = self.last.notified();
            if self.connections() == 0 {
                return;
            }
            last.await;
        }
    }
}

/// A connection's hold on the listener's orders; it counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Stopping(Arc<Stop>);

impl Stopping {
    pub(crate) fn new(stop: &Arc<Stop>) -> Self {
        stop.connections.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(stop))
    }
}

impl std::ops::Deref for Stopping {
    type Target = Stop;

    fn deref(&self) -> &Stop {
        &self.0
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        if self.0.connections.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.last.notify_waiters();
        }
    }
}
