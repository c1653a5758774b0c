//! The agent as it is shipped: small, because it lives beside customers' guests.
//!
//! What the profile cannot say is said here. A panic ends the process, so nobody reads unwind tables; relative
//! relocations are packed (glibc 2.36, which PVE 8 has); functions with the same instructions are one, and stretches of
//! instructions that recur are a function of their own (the addresses of functions mean nothing to us, and milliseconds a
//! minute little); of zstd only the fast compressor is kept; and what hashes or checks a signature now and then does so in its
//! smallest form, not in one for each kind of processor.

use std::path::Path;
use std::process::Command;

use crate::Failed;
use crate::process::{cargo, must};

const RUSTFLAGS: [&str; 14] = [
    "-C",
    "llvm-args=-enable-machine-outliner=always",
    "-C",
    "force-unwind-tables=no",
    "-C",
    "link-arg=-Wl,-z,pack-relative-relocs",
    "-C",
    "link-arg=-Wl,--icf=all",
    "--cfg",
    "sha2_backend=\"soft\"",
    "--cfg",
    "sha2_backend_soft=\"compact\"",
    "--cfg",
    "curve25519_dalek_backend=\"serial\"",
];
/// Leaves the unwind tables out of the program.
const LINKER_SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/no-unwind-tables.ld");
const CFLAGS: &str = "-fno-asynchronous-unwind-tables -fno-unwind-tables \
                      -DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR \
                      -DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR \
                      -DZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR \
                      -DZSTD_EXCLUDE_DFAST_BLOCK_COMPRESSOR";

/// As in `.cargo/config.toml`, and without memory taken in advance: two hundred statements an hour are in no hurry. Then
/// left out: JSON, which the agent leaves to serde, dates, which it leaves to jiff, and what nobody in it calls.
const SQLITE_FLAGS: &str = "-USQLITE_ENABLE_FTS3 -USQLITE_ENABLE_FTS3_PARENTHESIS -USQLITE_ENABLE_FTS5 \
                            -USQLITE_ENABLE_RTREE -USQLITE_ENABLE_DBSTAT_VTAB -USQLITE_ENABLE_STAT4 \
                            -USQLITE_SOUNDEX -USQLITE_ENABLE_API_ARMOR -USQLITE_ENABLE_COLUMN_METADATA \
                            -DSQLITE_DEFAULT_LOOKASIDE=0,0 -DSQLITE_DEFAULT_PCACHE_INITSZ=0 \
                            -DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_OMIT_JSON -DSQLITE_OMIT_DATETIME_FUNCS \
                            -DSQLITE_OMIT_DEPRECATED -DSQLITE_OMIT_SHARED_CACHE -DSQLITE_OMIT_AUTOVACUUM \
                            -DSQLITE_OMIT_AUTHORIZATION -DSQLITE_OMIT_PROGRESS_CALLBACK -DSQLITE_OMIT_TRACE \
                            -DSQLITE_OMIT_DESERIALIZE -DSQLITE_OMIT_GET_TABLE -DSQLITE_OMIT_COMPLETE \
                            -DSQLITE_OMIT_DECLTYPE -DSQLITE_OMIT_INCRBLOB -DSQLITE_OMIT_UTF16 \
                            -DSQLITE_OMIT_TCL_VARIABLE -DSQLITE_OMIT_INTROSPECTION_PRAGMAS \
                            -DSQLITE_OMIT_SCHEMA_PRAGMAS -DSQLITE_OMIT_XFER_OPT -DSQLITE_OMIT_AUTOMATIC_INDEX \
                            -DSQLITE_OMIT_COMPILEOPTION_DIAGS -DSQLITE_UNTESTABLE";

/// Builds `target/small/felhom-agent` and its helper on the host.
pub(crate) fn build() -> Result<(), Failed> {
    must(&mut command(&[]))
}

/// Builds the same into the target folder `target`, with more flags for the compiler.
pub(crate) fn build_for_shipping(target: &Path, flags: &[String]) -> Result<(), Failed> {
    must(command(flags).arg("--target-dir").arg(target))
}

fn command(more: &[String]) -> Command {
    let mut build = cargo(&["build", "--quiet", "--profile", "small", "-p", "felhom-agent", "--bins"]);
    let script = format!("link-arg=-Wl,-T,{LINKER_SCRIPT}");
    let flags: Vec<&str> =
        RUSTFLAGS.into_iter().chain(["-C", &script]).chain(more.iter().map(String::as_str)).collect();
    // The encoded form, because a path may have spaces.
    build
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CFLAGS", CFLAGS)
        .env("LIBSQLITE3_FLAGS", SQLITE_FLAGS);
    build
}
