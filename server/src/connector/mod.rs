//! The listener: TCP and WebSocket, bare or in TLS, on one port, told apart by the first bytes.

use pomelo_protocol::Instant;
use tokio::sync::watch;

mod deadlines;
mod hosts;
mod http;
mod limit;
mod listen;
mod open;
mod options;
mod proxy;
mod queue;
mod room;
mod socket;
mod stop;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod websocket;

pub(crate) use self::deadlines::{Deadlines, Watched};
pub use self::hosts::{Blacklist, Network, NetworkError, PatternError};
pub(crate) use self::limit::Used;
pub use self::limit::{Excess, RateLimit};
pub(crate) use self::listen::{listen, serve};
pub(crate) use self::open::{open, return_buffer, take_buffer, with_buffer};
pub(crate) use self::options::Encode;
pub use self::options::{CloseMethod, Hybrid, Refused};
pub(crate) use self::queue::{Queue, Ticket};
pub(crate) use self::room::{Bound, FREE, Place, Room};
pub(crate) use self::socket::Socket;
pub(crate) use self::stop::{Stopping, Told};
#[cfg(feature = "tls")]
pub use self::tls::{Tls, TlsError};
pub(crate) use self::transport::{Input, MESSAGE_ROOM, Transport};

/// How far the servers of this process are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not all have started.
    Starting,
    Running,
    /// Ordered to stop: hooks run, clients are still served, no new ones are to be sent here.
    Leaving,
    Stopping,
}

/// Waits for the order to stop; it has come, too, when nobody is left to give it. Cancel safe.
pub(crate) async fn stopped(phase: &mut watch::Receiver<Phase>) {
    drop(phase.wait_for(|phase| *phase == Phase::Stopping).await);
}

/// How long after the origin, in nanoseconds.
pub(crate) fn nanos(at: Instant) -> u64 {
    u64::try_from(at.since_origin().as_nanos()).unwrap_or(u64::MAX)
}
