//! The libxc image, version 3 (and 2, read only): headers and records.
//!
//! An image is an image header, a domain header and records up to END. Everything but the image
//! header is little-endian. Xen describes the format in `docs/specs/libxc-migration-stream.pandoc`.
//! One record is xend's own, and only ever sent to a receiver that has said that it knows it.

pub mod body;
pub mod header;
pub mod order;
pub mod page_data;
pub mod page_type;
pub mod reader;
pub mod record;
pub mod write;

pub use body::{
    CpuidLeaf, HvmParam, MsrEntry, P2mFrames, PageRun, PvWidth, TscInfo, VcpuKind, VcpuState,
};
pub use header::{DomainHeader, GuestType, ImageHeader, ImageVersion};
pub use order::{Order, OrderError};
pub use page_data::{PageDataHead, PageEntry};
pub use page_type::PageType;
pub use reader::{Limits, Reader};
pub use record::{Record, RecordHead, RecordType};

/// The only page size images are made of.
pub const PAGE_BYTES: usize = 4096;

/// The longest record body the format allows.
pub const MAX_RECORD_BYTES: u32 = 128 << 20;
