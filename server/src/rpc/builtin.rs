//! The rpc filters that come with the server.

use std::time::Duration;

use tokio::time::Instant;

use super::filter::{RpcFilter, RpcRequest};
use crate::error::Error;
use crate::filter::{DEFAULT_MAX_LAG, LagMeter};

/// Logs each call to another server with its route and the milliseconds it took, at level info
/// under pomelo's name for this log, the target `rpc-log`. Arguments are not logged.
#[derive(Debug, Clone, Copy, Default)]
pub struct RpcLog;

#[derive(Clone, Copy)]
struct Started(Instant);

impl RpcFilter for RpcLog {
    async fn before(&self, call: &mut RpcRequest) -> Result<(), Error> {
        call.extensions_mut().insert(Started(Instant::now()));
        Ok(())
    }

    async fn after(&self, call: &mut RpcRequest, outcome: Result<(), &str>) -> Result<(), Error> {
        if let Some(Started(start)) = call.extensions_mut().remove() {
            let time_used = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            let (server, route) = (call.server_id(), call.route().as_str());
            let error = outcome.err();
            tracing::info!(target: "rpc-log", server, route, time_used, error, "rpc");
        }
        Ok(())
    }
}

/// Refuses calls to other servers while tasks of this process wait too long for a thread; see
/// [`TooBusy`](crate::filters::TooBusy).
#[derive(Debug)]
pub struct RpcTooBusy {
    max_lag: Duration,
    meter: LagMeter,
}

impl Default for RpcTooBusy {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_LAG)
    }
}

impl RpcTooBusy {
    /// With the lag above which calls are refused; pomelo's, and the
    /// [default](Self::default), is 70 ms.
    pub fn new(max_lag: Duration) -> Self {
        Self {
            max_lag,
            meter: LagMeter::default(),
        }
    }
}

impl RpcFilter for RpcTooBusy {
    async fn before(&self, call: &mut RpcRequest) -> Result<(), Error> {
        let lag = self.meter.lag();
        if lag > self.max_lag {
            let server = call.server_id();
            tracing::warn!(target: "rpc-log", server, ?lag, "toobusy: call refused");
            return Err(Error::new(format!(
                "Backend server {server} is too busy now!"
            )));
        }
        Ok(())
    }
}
