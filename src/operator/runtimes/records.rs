//! The tunnel that was made for each alias, kept until a profile names it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::operator::state;

/// A tunnel that `runtimes create` made or found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The tunnel.
    pub tunnel_id: String,
    /// Its name.
    pub name: String,
    /// The admin profile that manages it.
    pub admin_profile: Option<String>,
    /// Base URL of its control plane.
    pub control_plane_base_url: String,
    /// Path in front of `/v1` there, or empty.
    pub control_plane_url_path: String,
    /// When this was written.
    pub updated_at: String,
}

/// All records, by alias.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// By alias.
    pub aliases: BTreeMap<String, Record>,
}

fn path(root: &Path) -> PathBuf {
    root.join("aliases.yaml")
}

/// Reads the records below a state root.
///
/// # Errors
/// If the file cannot be read.
pub fn read(root: &Path) -> Result<Records, String> {
    state::read(&path(root))
}

/// Replaces them.
///
/// # Errors
/// If the file cannot be written.
pub fn write(root: &Path, records: &Records) -> Result<(), String> {
    state::write(&path(root), records)
}

/// Drops the record of an alias, if there is one.
///
/// # Errors
/// If the file cannot be read or written.
pub fn forget(root: &Path, alias: &str) -> Result<bool, String> {
    let mut records = read(root)?;
    let known = records.aliases.remove(alias).is_some();
    if known {
        write(root, &records)?;
    }
    Ok(known)
}

/// An alias whose tunnel is managed with this admin profile.
///
/// # Errors
/// If the file cannot be read.
pub fn user_of(root: &Path, admin_profile: &str) -> Result<Option<String>, String> {
    let uses = |record: &Record| record.admin_profile.as_deref() == Some(admin_profile);
    Ok(read(root)?.aliases.into_iter().find(|(_, record)| uses(record)).map(|(alias, _)| alias))
}
