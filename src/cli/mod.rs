//! Placeholder.
pub mod run;
pub mod stub;
