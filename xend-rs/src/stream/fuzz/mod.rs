//! Entry points for the fuzz targets, and the sound streams they start from.

pub mod sample;
