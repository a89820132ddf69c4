//! Any bytes into the reader of libxl streams.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xend_rs::stream::fuzz::libxl(data));
