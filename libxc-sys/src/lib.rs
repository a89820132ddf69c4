//! Raw bindings to the toolstack libraries of the installed Xen: libxenctrl, libxenguest,
//! libxenforeignmemory, libxenevtchn, libxencall, libxentoollog and libxenstore.
//!
//! There is no logic here, and nothing here is safe to call. Most of it is made by bindgen from
//! the headers in libxen-dev, with the layout of every struct checked at compile time;
//! [`undeclared`] and [`consts`] add by hand what bindgen cannot see.
//!
//! libxenctrl and libxenguest are no stable ABI: what is built here fits the Xen release that it
//! was built against ([`XEN_VERSION`]) and no other.

pub mod consts;
pub mod undeclared;

pub use bindings::*;
pub use consts::*;
pub use undeclared::*;

/// The Xen release whose headers these bindings were made from: major, minor.
pub use version::XEN_VERSION;

#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports,
    dead_code,
    rustdoc::all,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

mod version {
    #![allow(missing_docs)]
    include!(concat!(env!("OUT_DIR"), "/version.rs"));
}
