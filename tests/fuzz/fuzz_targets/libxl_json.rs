//! Any bytes into the reader of libxl-json documents.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xend_rs::toolstack::fuzz::document(data));
