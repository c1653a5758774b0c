//! 53–56 and 60–67: replays, and what can happen to the box's memory of what it took.

mod crashes;
mod desk;
mod edited;
mod replays;
mod rolled_back;
mod two_agents;

use felhom_agent::state::Boundary;

use crate::scene::{Scene, all};
use crate::{Row, row};
use crashes::{
    full_device, host_op_killed, killed_after_reserve, killed_at, killed_in_cycle, no_space, torn_write,
};
use edited::{FLIPS, tampered, tampered_seen};
use replays::{
    after_clearing, another_envelope, cleared_twice, handed_in_twice, ledger_full, replayed, same_nonce,
    voided_and_cleared, voided_when_full,
};
use rolled_back::{last_weeks_ledger, other_head, rebased, rebased_to};
use two_agents::two_agents;

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row(53, "handed in again after it ran", "applied, ran 1, applied", || replayed(|_| ())),
    row(53, "handed in again while it waits", "delivered, ran 1, applied", handed_in_twice),
    row(54, "handed in again after a restart", "applied, ran 1, applied", || replayed(Scene::restart)),
    row(55, "handed in again after the ledger was cleared, with the clock set back", "applied, stale", after_clearing),
    row(55, "voided beforehand, and handed in after the row that voided it was cleared", "stale, stale", voided_and_cleared),
    row(55, "the floor outlives a second clearing that raises nothing", "stale", cleared_twice),
    row(56, "4097 operations", "ledger_full, 4096 kept", ledger_full),
    row(56, "a full ledger makes room when a root key voids what is old", "ledger_full, applied, accepted", voided_when_full),
    row(60, "the same nonce under another payload", "replayed", || same_nonce(|op| op.expires_at += 1)),
    row(60, "the same payload in another envelope", "replayed", another_envelope),
    row(61, "killed after the reservation", "runs once: ran 1, applied", killed_after_reserve),
    row(61, "killed before the reservation", "runs once: ran 1, applied", || killed_at(Boundary::BeforeReserve)),
    row(61, "killed on the way of an operation on the host", "applied", host_op_killed),
    row(62, "killed after it began", "ran 0, interrupted", || killed_in_cycle(Boundary::AfterBegin)),
    row(62, "killed after PVE was asked", "ran 1, applied", || killed_in_cycle(Boundary::AfterCall)),
    row(63, "the write of the reservation is torn by a power cut", "runs once: ran 1, applied", torn_write),
    row(63, "rows cut off the end", "ledger_rolled_back", || tampered_seen("DELETE FROM op_ledger WHERE seq = (SELECT max(seq) FROM op_ledger)")),
    row(63, "every row cut off", "ledger_rolled_back", || tampered_seen("DELETE FROM op_ledger")),
    row(64, "a flipped byte", "ledger_damaged, ran 0", || all(FLIPS.map(|sql| tampered(sql, "ledger_damaged")))),
    row(64, "a row taken out of the middle", "ledger_damaged, ran 0", || tampered("DELETE FROM op_ledger WHERE seq = 1", "ledger_damaged")),
    row(64, "a state put back to before: accepted again", "ledger_damaged, ran 0", || tampered("UPDATE op_ledger SET row = replace(row, '\"state\":\"rejected\"', '\"state\":\"accepted\"')", "ledger_damaged")),
    row(65, "no space left for the reservation", "not taken, ran 0; then ran 1, applied", no_space),
    row(65, "no space left on a real device", "not taken, ran 0; then ran 1, applied", full_device),
    row(66, "the ledger of last week is put back", "ledger_rolled_back, ran 0", last_weeks_ledger),
    row(66, "a root key rebases it: what ran before does not run again", "ledger_rolled_back, applied, stale, delivered", rebased),
    row(66, "a rebase to the farthest row", "op_malformed", || all([u64::MAX, i64::MAX as u64, 1 << 60].map(rebased_to))),
    row(66, "a hub that has seen another ledger of the same length", "ledger_rolled_back", other_head),
    row(67, "two agents on one state", "refused: another agent", two_agents),
];
