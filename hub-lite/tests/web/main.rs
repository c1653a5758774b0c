//! The operator's pages from outside: one hub in the test's own process for each test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod assign;
mod escaping;
mod frame;
mod house;
mod live;
mod login;
mod pages;
mod signing;
mod tunnel;
mod visitor;
