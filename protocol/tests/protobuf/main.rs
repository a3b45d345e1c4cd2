//! The protobuf dialect: against the original's bytes, against serde's data model, and against
//! random schemas, values and bodies.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are tests"
)]

mod golden;
mod hostile;
mod js;
mod property;
mod typed;
