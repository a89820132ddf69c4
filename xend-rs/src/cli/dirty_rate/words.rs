//! Numbers for people.

use std::time::Duration;

use crate::hypervisor::types::PAGE_SIZE;

/// So many pages, as an amount of memory.
pub(super) fn memory(pages: f64) -> String {
    bytes(pages * PAGE_SIZE as f64)
}

/// An amount of bytes with three figures or so.
pub(super) fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().expect("there are some");
    while let (true, Some(next)) = (amount >= 1000.0, units.clone().next()) {
        (amount, unit) = (amount / 1024.0, next);
        units.next();
    }
    if amount >= 100.0 || amount == 0.0 {
        format!("{amount:.0} {unit}")
    } else {
        format!("{amount:.1} {unit}")
    }
}

/// A time, in the unit that suits it.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{s:.1} s"),
        s if s >= 0.01 => format!("{:.0} ms", s * 1e3),
        s => format!("{:.1} ms", s * 1e3),
    }
}

/// A link, as it is sold.
pub(super) fn link(mbit: u64) -> String {
    if mbit >= 1000 && mbit.is_multiple_of(100) {
        format!("{} Gbit/s", mbit as f64 / 1000.0)
    } else {
        format!("{mbit} Mbit/s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_times_are_short() {
        for (pages, text) in [
            (0.0, "0 KiB"),
            (0.5, "2.0 KiB"),
            (3.0, "12.0 KiB"),
            (250.0, "1.0 MiB"),
            (24_576.0, "96.0 MiB"),
            (262_144.0, "1.0 GiB"),
            (1e15, "3725290 TiB"),
        ] {
            assert_eq!(memory(pages), text);
        }
        for (ms, text) in [(0.5, "0.5 ms"), (52.0, "52 ms"), (1234.0, "1.2 s"), (2e5, "200 s")] {
            assert_eq!(time(Duration::from_secs_f64(ms / 1e3)), text);
        }
        for (mbit, text) in [(100, "100 Mbit/s"), (1000, "1 Gbit/s"), (2500, "2.5 Gbit/s")] {
            assert_eq!(link(mbit), text);
        }
    }
}
