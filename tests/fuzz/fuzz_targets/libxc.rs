//! Any bytes into the reader of libxc images.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xend_rs::stream::fuzz::libxc(data));
