//! `xend agent`: whether a guest has one, and a rehearsal of what it would do.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::args::Args;
use super::failure::Failure;
use super::interruption::Interruption;
use super::options::Long;
use super::{domains, output};
use crate::toolstack::Host;
use crate::toolstack::migrate::here::{Purpose, Turn};
use crate::toolstack::notify::{Notify, Outcome, Plan, Sight};

const REHEARSE: u8 = 1;
const RATE: u8 = 2;
const KEEP_CACHE: u8 = 3;
const LONG: &[Long] = &[
    Long::with_value("rehearse", REHEARSE),
    Long::with_value("rate", RATE),
    Long::flag("keep-cache", KEEP_CACHE),
];

/// For whoever says no other: a busy gigabit link, halved.
const DEFAULT_RATE_KIB_S: u32 = 50 << 10;
const MAX_REHEARSAL_S: u32 = 24 * 60 * 60;
const NAP: Duration = Duration::from_millis(50);

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut options = args.options("", LONG);
    let (mut seconds, mut rate_kib_s, mut drop_cache) = (None, None, true);
    while let Some(given) = options.next()? {
        match given.letter {
            REHEARSE => seconds = Some(given.amount(1..=MAX_REHEARSAL_S, "seconds")?),
            RATE => rate_kib_s = Some(given.amount(1..=u32::MAX, "KiB/s")?),
            _ => drop_cache = false,
        }
    }
    let operands = options.operands(1)?;
    require_rehearsal(seconds, rate_kib_s.is_some() || !drop_cache)?;
    let host = Host::open()?;
    let domid = domains::domid(domains::find(&host, operands[0])?);
    let mut notify = Notify::begin(&host, domid)?;
    let Some(sight) = notify.look()? else {
        output::print(format!("{} has no agent\n", operands[0]))?;
        return Ok(ExitCode::FAILURE);
    };
    output::print(described(&sight))?;
    let Some(seconds) = seconds else { return Ok(ExitCode::SUCCESS) };
    // An agent talks to one at a time: a migration would lose it.
    let _turn = Turn::take(domid, Purpose::Rehearse)?
        .map_err(|holder| Failure::line(format_args!("{} {holder}", operands[0])))?;
    let plan = Plan { drop_cache, ..Plan::default() };
    let rate_kib_s = rate_kib_s.unwrap_or(DEFAULT_RATE_KIB_S);
    rehearse(&mut notify, &plan, Duration::from_secs(seconds.into()), rate_kib_s)
}

/// Refuses what is said about a rehearsal that nobody asked for.
fn require_rehearsal(seconds: Option<u32>, has_details: bool) -> Result<(), Failure> {
    if has_details && seconds.is_none() {
        return Err(Failure::line("--rate and --keep-cache are of no use without --rehearse"));
    }
    Ok(())
}

fn rehearse(
    notify: &mut Notify,
    plan: &Plan,
    time: Duration,
    rate_kib_s: u32,
) -> Result<ExitCode, Failure> {
    let interruption = Interruption::await_signals()?;
    let outcome = notify.prepare(plan, &interruption.cancel);
    output::print(format!("{outcome}\n"))?;
    let Outcome::Prepared(prepared) = outcome else { return Ok(ExitCode::FAILURE) };
    if !prepared.soft_dirty {
        output::print("it holds no processes: its kernel does not say what they write\n")?;
    }
    notify.pre_copy(u64::from(rate_kib_s) << 10);
    let until = Instant::now() + time;
    while Instant::now() < until && !interruption.cancel.is_cancelled() {
        thread::sleep(NAP);
    }
    let stayed = notify.has_agent();
    notify.cancelled();
    output::print(if stayed {
        "everything is released\n"
    } else {
        "the agent left before the end\n"
    })?;
    Ok(if stayed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn described(sight: &Sight) -> String {
    let state = sight.state.map_or_else(|| "unknown".to_owned(), |state| state.to_string());
    format!(
        "program:  {}\nversions: {}\nstate:    {state}\n",
        sight.program,
        sight.versions.to_string().replace(' ', " to ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_for_a_rehearsal() {
        assert_eq!(require_rehearsal(None, false), Ok(()));
        assert_eq!(require_rehearsal(Some(1), true), Ok(()));
        let said = "xend: --rate and --keep-cache are of no use without --rehearse\n";
        let refused = require_rehearsal(None, true).err().map(|failure| failure.text());
        assert_eq!(refused.as_deref(), Some(said));
    }
}
