//! The migration engine of xend-rs, and what it stands on.
