//! The real Xen, through libxenctrl and its relatives. All `unsafe` of this crate is in here.
