//! Both in turn, in alternating order and directions.

use anyhow::Result;
use lab::Guest;

use crate::rig::{Place, Rig};

/// Migrates a guest that is on host A `pairs` times with each of `both`, of which ours comes first,
/// and tells `say` of each migration. Gives the pairs, ours first in each, and the guest is on host A
/// again.
///
/// # Errors
/// When a migration fails or a page is wrong.
pub fn in_pairs<S: Copy, R>(
    rig: &Rig,
    guest: &Guest,
    pairs: u32,
    both: [S; 2],
    measure: impl Fn(&Rig, &Guest, Place, S) -> Result<R>,
    say: impl Fn(u32, &R),
) -> Result<Vec<(R, R)>> {
    let mut measured = Vec::new();
    for pair in 1..=pairs {
        // Who is first changes, and with it the direction each of them goes in.
        let ours_first = pair % 2 == 1;
        let order = if ours_first { both } else { [both[1], both[0]] };
        let first = measure(rig, guest, Place::A, order[0])?;
        say(pair, &first);
        let second = measure(rig, guest, Place::B, order[1])?;
        say(pair, &second);
        measured.push(if ours_first { (first, second) } else { (second, first) });
    }
    Ok(measured)
}
