//! `hub_cannot_destroy`: with full control of the hub and its database nobody makes an agent destroy, overwrite, roll
//! back, detach, weaken or forget anything. The whole agent, against a node that keeps its own books.
//!
//! Every attempt is a row of a table: what the hub does, and where it must show. After each the agent is started anew
//! on what is on disk, and the node is searched for harm. That the ground is live is shown at the end: an operation
//! that is signed properly destroys exactly its guest.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod database;
mod documents;
mod ground;
mod hub;
mod keysets;
mod log;
mod operations;
mod siege;

use siege::Siege;

#[test]
fn hub_cannot_destroy() {
    let mut siege = Siege::lay();
    documents::attack(&mut siege);
    keysets::attack(&mut siege);
    answers::attack(&mut siege);
    operations::attack(&mut siege);
    siege.restore();
    operations::replays(&mut siege);
    siege.restore();
    keysets::revoked(&mut siege);
    operations::control(&mut siege);
    let attempts = [siege.attempts, database::attack()].concat();
    println!("hub_cannot_destroy: {} attempts, none worked", attempts.len());
}
