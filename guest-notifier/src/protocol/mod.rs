//! The nodes and what is in them.
//!
//! Both sides write with `Display` and read with `parse`, which takes whatever the other side has put
//! there: too long, unprintable, out of range. What cannot be read is an error and counts as absent.

mod answer;
mod command;
mod fields;
mod versions;

pub use answer::{Answer, Reply, State};
pub use command::{Cache, Command, DEADMAN_RANGE, PrepareOrder, Share, Word};
pub use fields::Unreadable;
pub use versions::{OURS, Versions};

/// The longest content of a node, in bytes.
pub const MAX_BYTES: usize = 512;

/// Everything that the host writes.
pub const HOST_FOLDER: &str = "control/xend-agent";
/// The stage that the host is in.
pub const COMMAND: &str = "control/xend-agent/command";
/// Changes while the host lives.
pub const BEAT: &str = "control/xend-agent/beat";
/// Everything that the guest writes.
pub const GUEST_FOLDER: &str = "data/xend-agent";
/// Which versions of this protocol the agent speaks.
pub const VERSIONS: &str = "data/xend-agent/versions";
/// Which process the agent is.
pub const INSTANCE: &str = "data/xend-agent/instance";
/// Which program the agent is.
pub const PROGRAM: &str = "data/xend-agent/program";
/// Where the agent is.
pub const STATE: &str = "data/xend-agent/state";
/// What the agent says to a command.
pub const ANSWER: &str = "data/xend-agent/answer";
