//! The sources of the operator page: closures and cells that `daemon` fills with the state of the
//! other rooms.

use std::sync::{Arc, Mutex};

use crate::ops::log::Logger;
use crate::ops::recent::Recent;
use crate::secret::Secret;

/// Makes a JSON object of the present state.
pub type Text = Box<dyn Fn() -> String + Send + Sync>;

/// Everything that the page and its routes show.
pub struct Admin {
    /// The log.
    pub logger: &'static Logger,
    /// The last commands that were answered.
    pub recent: Arc<Recent>,
    /// `/api/status`.
    pub status: Text,
    /// `/api/system`.
    pub system: Text,
    /// `/api/settings`.
    pub settings: Text,
    /// `/api/oauth`.
    pub oauth: Text,
    /// The same for the support archive, without anything that should not leave this host.
    pub oauth_summary: Text,
    /// `/api/harpoon/status`.
    pub harpoon: String,
    /// True if clients on other hosts are answered.
    pub allow_remote: bool,
    /// The token that a request must carry to change anything.
    pub token: Token,
}

/// The token, if there is one; a reload replaces it.
pub type Token = Arc<Mutex<Option<Secret>>>;
