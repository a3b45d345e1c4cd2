//! The protobuf dialect against serde's data model and against random schemas, values and bodies.
//! The original's bytes are checked in `tests/golden.rs`.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are tests"
)]

mod hostile;
mod property;
mod typed;
