//! The pomelo wire protocol, without IO.

mod error;

pub use error::{DecodeError, EncodeError};
