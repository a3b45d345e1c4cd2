//! A running application and its end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::App;
use crate::connector::Phase;
use crate::events::Closer;

/// A running application. Dropping it stops everything at once; [`stop`](Self::stop) in good order.
#[derive(Debug)]
pub struct Running {
    pub(super) apps: Vec<App>,
    pub(super) addresses: HashMap<String, SocketAddr>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) tasks: JoinSet<()>,
    pub(super) listeners: JoinSet<()>,
    pub(super) closers: Vec<Closer>,
    pub(super) stop_timeout: Duration,
    pub(super) admin_address: Option<SocketAddr>,
    /// Ends last, when this is dropped: a probe is to see `draining`.
    pub(super) _admin: JoinSet<()>,
}

impl Running {
    /// The address each frontend listens on, by server id.
    pub fn addresses(&self) -> &HashMap<String, SocketAddr> {
        &self.addresses
    }

    /// The address of the admin port, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// The view of the server with this id.
    pub fn app(&self, server_id: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.server_id() == server_id)
    }

    /// Runs until SIGINT or SIGTERM, then [stops](Self::stop).
    pub async fn until_signal(self) {
        terminated().await;
        self.stop().await;
    }

    /// Refuses new connections, kicks every session with `server stop`, flushes, waits for
    /// running handlers and `closed` listeners, and joins every task; the builder's
    /// `stop_timeout` is the limit.
    pub async fn stop(mut self) {
        self.phase.send_replace(Phase::Stopping);
        while self.tasks.join_next().await.is_some() {}
        for app in &self.apps {
            app.stop_schedulers();
        }
        let heard = async {
            for closer in &self.closers {
                closer.close().await;
            }
            while self.listeners.join_next().await.is_some() {}
        };
        if tokio::time::timeout(self.stop_timeout, heard)
            .await
            .is_err()
        {
            tracing::warn!("listeners of events did not end in time");
        }
        // Last: whatever ran before may have changed channels.
        let stored = async {
            for app in &self.apps {
                app.channels().stored().await;
            }
        };
        if tokio::time::timeout(self.stop_timeout, stored)
            .await
            .is_err()
        {
            tracing::error!("the store did not take the last changes of channels in time");
        }
    }
}

/// Waits for SIGINT or, where there is such a thing, SIGTERM.
async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    // Without a signal to wait for, the application runs until the process ends.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
