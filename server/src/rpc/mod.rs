//! Calls from server to server: a route names the remote, a router or an id picks the server.

mod builtin;
mod call;
mod client;
mod engine;
mod fail;
mod filter;
mod param;
mod router;
pub(crate) mod system;

use std::time::Duration;

pub use self::builtin::{RpcLog, RpcTooBusy};
pub use self::call::RpcCall;
pub(crate) use self::client::RpcClient;
pub use self::fail::FailMode;
pub(crate) use self::filter::RpcFilters;
pub use self::filter::{RpcFilter, RpcKind, RpcRequest};
pub(crate) use self::param::RouteFn;
pub use self::param::RouteParam;
pub use self::router::Router;

/// How a server calls others: `proxyConfig` of pomelo.
#[derive(Debug, Clone)]
#[must_use]
pub struct RpcConfig {
    timeout: Duration,
    fail_mode: FailMode,
    router: Router,
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl RpcConfig {
    /// pomelo's defaults: 30 s, fail fast, route functions before crc32 of the uid.
    pub fn new() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            fail_mode: FailMode::Fast,
            router: Router::Crc32,
        }
    }

    /// How long a call, or a client's request at a backend, may take: `timeout`. Default: 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What is done when a server cannot be reached: `failMode`. Default: [`FailMode::Fast`].
    pub fn fail_mode(mut self, mode: FailMode) -> Self {
        self.fail_mode = mode;
        self
    }

    /// How servers are chosen: `routerType`. Default: [`Router::Crc32`].
    pub fn router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }
}
