//! Landlock: which files may be written, which ports may be connected to. `confine` calls it; it
//! calls no other room.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use super::{Needs, Part};

/// The version of Landlock that the rules below are written for. A newer kernel enforces no more
/// than these, so an update of it breaks nothing.
const KNOWN: ABI = ABI::V6;

/// The first version of Landlock, and of Linux, that confines each part.
const SINCE: [(Part, ABI, &str); 3] = [
    (Part::Files, ABI::V1, "5.13"),
    (Part::Ports, ABI::V4, "6.7"),
    (Part::Processes, ABI::V6, "6.12"),
];

/// Restricts this thread and those that it starts. Returns each part, with the reason if it is
/// missing.
pub(super) fn restrict(needs: &Needs) -> Vec<(Part, Option<String>)> {
    let missing = |reason: &str| SINCE.map(|(part, ..)| (part, Some(reason.to_owned()))).to_vec();
    if threads() > 1 {
        // The others would stay free.
        return missing("threads ran already");
    }
    let status = match rules(needs) {
        Ok(status) => status,
        Err(error) => return missing(&format!("Landlock: {error}")),
    };
    let version = match status.landlock {
        LandlockStatus::NotEnabled => return missing("Landlock is not enabled at boot"),
        LandlockStatus::NotImplemented => return missing("this kernel has no Landlock"),
        LandlockStatus::Available { effective_abi, .. } => effective_abi,
    };
    let held =
        |since: ABI, linux: &str| (version < since).then(|| format!("it needs Linux {linux}"));
    SINCE.map(|(part, since, linux)| (part, held(since, linux))).to_vec()
}

fn rules(needs: &Needs) -> Result<RestrictionStatus, RulesetError> {
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::Signal)?;
    let ruleset = match needs.abstract_socket {
        true => ruleset,
        false => ruleset.scope(Scope::AbstractUnixSocket)?,
    };
    let mut ruleset = ruleset.create()?;
    let append = AccessFs::WriteFile | AccessFs::MakeReg;
    let allowed = [(PathBuf::from("/"), AccessFs::ReadFile | AccessFs::ReadDir)]
        .into_iter()
        .chain(needs.appended.iter().flat_map(|file| directories(file)).map(|dir| (dir, append)))
        .chain(needs.removed.iter().flat_map(|file| directories(file)).map(|dir| {
            let remove: BitFlags<AccessFs> = AccessFs::RemoveFile.into();
            (dir, remove)
        }));
    for (directory, access) in allowed {
        // Nothing can be written to a directory that is not there.
        if let Ok(directory) = PathFd::new(directory) {
            ruleset = ruleset.add_rule(PathBeneath::new(directory, access))?;
        }
    }
    for port in &needs.ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    ruleset.restrict_self()
}

/// The directory of a file and, if the file is a link, the directory of its target.
fn directories(file: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => parent.map(Path::to_owned),
    };
    let target = fs::canonicalize(file).ok();
    let mut all: Vec<PathBuf> = parent(file).into_iter().collect();
    all.extend(target.as_deref().and_then(parent));
    all
}

/// The number of threads of this process; 1 if that cannot be found out.
fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}
