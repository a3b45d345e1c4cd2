//! The order to stop, for every connection of a listener.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Given once. Looking whether it was is one load, for each turn of each connection.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    ordered: AtomicBool,
    told: Notify,
}

impl Stop {
    pub(crate) fn order(&self) {
        self.ordered.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    pub(crate) fn is_ordered(&self) -> bool {
        self.ordered.load(Ordering::Acquire)
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
