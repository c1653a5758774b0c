//! libFuzzer's way in; what must hold is in the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| felhom_fuzz::envelope(data));
