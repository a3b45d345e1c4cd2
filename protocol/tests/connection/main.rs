//! Both state machines: joined over a virtual wire, and against scripted peers. Time is virtual.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod bad_input;
mod pair;
mod support;
