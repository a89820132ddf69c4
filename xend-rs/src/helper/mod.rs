//! `xend-save-helper`: our engine in the place of `libxl-save-helper`.
//!
//! libxl does not copy memory itself. It starts a helper with the stream's descriptor and talks to
//! it over the helper's standard input and output ([`ipc`]). Whoever points `LIBXL_SAVE_HELPER` at
//! this program has `xl save`, `xl restore`, `xl migrate` and libvirt use the engine of this crate,
//! with everything else as it was.
//!
//! Who does what in a failure: the engine turns write tracking off and reports; libxl resumes a
//! suspended source guest, and destroys a half-built domain at the destination.

pub mod args;
pub mod ipc;
mod link;
mod logger;
mod run;
mod toolstack;

pub use run::run;
