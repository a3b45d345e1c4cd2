//! How long requests take, in the log.

use std::time::Duration;

use tokio::time::Instant;

use super::Filter;
use crate::error::Error;
use crate::handler::Request;
use crate::reply::Reply;

/// Logs each request with its route and the milliseconds it took, under pomelo's name for this
/// log, the target `con-log`: at level info, and at warn what is slow.
///
/// The message is not logged, unlike at pomelo: it may hold what does not belong in a log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Time {
    slow: Option<Duration>,
    slow_only: bool,
}

impl Time {
    /// Logs every request, none of them as slow.
    pub fn new() -> Self {
        Self::default()
    }

    /// Logs what takes at least this long at level warn.
    #[must_use]
    pub fn slow(mut self, at_least: Duration) -> Self {
        self.slow = Some(at_least);
        self
    }

    /// Logs slow requests alone, so that a busy server is not busy with its log.
    #[must_use]
    pub fn slow_only(mut self, at_least: Duration) -> Self {
        self.slow_only = true;
        self.slow(at_least)
    }
}

#[derive(Clone, Copy)]
struct Started(Instant);

impl Filter for Time {
    async fn before(&self, request: &mut Request) -> Result<(), Error> {
        request.extensions_mut().insert(Started(Instant::now()));
        Ok(())
    }

    async fn after(
        &self,
        request: &mut Request,
        outcome: Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        // Absent if a filter before this one stopped the request.
        if let Some(Started(start)) = request.extensions_mut().remove() {
            let used = start.elapsed();
            let time_used = u64::try_from(used.as_millis()).unwrap_or(u64::MAX);
            let route = request.route().as_str();
            if self.slow.is_some_and(|slow| used >= slow) {
                tracing::warn!(target: "con-log", route, time_used, "slow request");
            } else if !self.slow_only {
                tracing::info!(target: "con-log", route, time_used, "request");
            }
        }
        outcome
    }
}
