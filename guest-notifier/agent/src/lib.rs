//! The guest's side of the guest notifier: what `xend-agent` is made of.
//!
//! `docs/guest-notifier.md` says what it does. The way of a command: [`xenbus`] hears that something
//! changed, [`session`] reads the nodes, [`machine`] decides, [`work`] does it.
//!
//! ```text
//! machine    the states, pure
//! session    nodes and machine together
//! work       preparing, holding, releasing
//! hooks      programs of the administrator
//! memory     page cache and balloon
//! process    what /proc says
//! meter      what a process writes
//! queue      whose turn it is, pure
//! holding    the thread that measures and gives turns
//! hold       who is held, and which of them runs
//! grip       stopping one process, and letting it go
//! ledger     what is held, on disk
//! lock       a lock that outlives a thread's bad end
//! guardian   the process that releases it all when the agent dies
//! say        lines of output that nobody need read
//! xenbus     xenstore; watch, bell: being told of changes
//! config     what the guest's administrator allows
//! ```

pub mod bell;
pub mod config;
pub mod grip;
pub mod guardian;
pub mod hold;
pub mod holding;
pub mod hooks;
pub mod ledger;
mod lock;
pub mod machine;
pub mod memory;
pub mod meter;
pub mod process;
pub mod queue;
mod say;
pub mod session;
pub mod watch;
pub mod work;
pub mod xenbus;
