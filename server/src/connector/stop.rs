//! The order to stop, for every connection of a listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Given once. Looking whether it was is one load, for each turn of each connection.
#[derive(Debug)]
pub(crate) struct Stop {
    /// How long requests may take then, unless the connector says otherwise.
    pub(crate) drain: Duration,
    ordered: AtomicBool,
    told: Arc<Notify>,
}

/// Waits for the order; ready when it is given, and not if it was given before.
pub(crate) type Told = OwnedNotified;

impl Stop {
    pub(crate) fn new(drain: Duration) -> Self {
        Self {
            drain,
            ordered: AtomicBool::new(false),
            told: Arc::default(),
        }
    }

    pub(crate) fn order(&self) {
        self.ordered.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    pub(crate) fn is_ordered(&self) -> bool {
        self.ordered.load(Ordering::Acquire)
    }

    pub(crate) fn told(&self) -> Told {
        Arc::clone(&self.told).notified_owned()
    }

    /// Waits for the order. Cancel safe.
    pub(crate) async fn ordered(&self) {
        let told = self.told.notified();
        // Behind `notified`, which hears every order from then on.
        if !self.is_ordered() {
            told.await;
        }
    }
}
