//! Any bytes into the readers of what two xends say to each other.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xend_rs::stream::fuzz::xend(data));
