//! The pomelo wire protocol, without IO.

mod error;
pub mod protobuf;
mod text;

pub use error::{DecodeError, EncodeError};
