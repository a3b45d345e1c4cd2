//! Nothing but benches: `cargo bench -p pomelo-benches`, one file for each question, and
//! `allocations.rs`, which counts instead of timing and so is a test.
