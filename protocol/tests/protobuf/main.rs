//! The protobuf dialect against the original's bytes.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are tests"
)]

mod golden;
mod js;
