//! A running application and its end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::App;
use super::lifecycle::Moment;
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
    pub(super) admin: JoinSet<()>,
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

    /// Stops in order: `/healthz` of the admin port says `draining`; `before_shutdown` of all
    /// servers side by side, while clients are still served (a hook that waits gives a load
    /// balancer time to send clients elsewhere); new connections are
    /// refused, every session is kicked with `server stop`, what waits is flushed, running
    /// handlers, `closed` listeners and cron jobs end; components stop in the order of loading;
    /// listeners of events hear what is left. The builder's `stop_timeout` is the limit of each
    /// of these steps.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the rest at once.
    pub async fn stop(self) {
        self.phase.send_replace(Phase::Leaving);
        let hooks = self.apps.iter().map(|app| async move {
            if let Err(error) = app.run_hooks(Moment::BeforeShutdown).await {
                tracing::error!(%error, "the stop goes on");
            }
        });
        self.within("hooks", join_all(hooks)).await;
        let apps = self.apps.clone();
        self.end(&apps).await;
    }

    /// Everything after the hooks; `started` are the servers whose components have started.
    pub(super) async fn end(mut self, started: &[App]) {
        self.phase.send_replace(Phase::Stopping);
        // Each task keeps to the limit by itself.
        while self.tasks.join_next().await.is_some() {}
        for app in &self.apps {
            app.stop_schedulers();
        }
        let components = started.iter().map(App::stop_components);
        self.within("components", join_all(components)).await;
        let mut listeners = std::mem::take(&mut self.listeners);
        let heard = async {
            for closer in &self.closers {
                closer.close().await;
            }
            while listeners.join_next().await.is_some() {}
        };
        self.within("listeners of events", heard).await;
    }

    async fn within<T>(&self, what: &str, work: impl Future<Output = T>) {
        if tokio::time::timeout(self.stop_timeout, work).await.is_err() {
            tracing::warn!("{what} did not end in time");
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
        for app in &self.apps {
            app.channels().end_store().await;
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
