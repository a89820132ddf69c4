//! Any bytes into the reader of xl.cfg files.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xend_rs::toolstack::fuzz::xlcfg(data));
