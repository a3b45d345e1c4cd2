//! Sessions: one per connection that finished its handshake, found by id and by uid.

mod backend;
mod copy;
mod found;
mod handle;
mod packed;
mod sending;
mod service;
mod statistics;
mod table;
mod uid;

pub use self::backend::BackendSessionService;
pub use self::copy::{BackendSession, FrontendSession, RequestSession};
pub(crate) use self::found::{Found, Search};
pub(crate) use self::handle::Owned;
#[cfg(test)]
pub(crate) use self::handle::size;
pub use self::handle::{ClosedSession, Session, SessionData};
pub use self::service::SessionService;
pub use self::statistics::{ConnectionStatistics, Login};
pub use self::uid::Uid;
