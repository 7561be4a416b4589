//! Placeholder.
pub mod stub;
