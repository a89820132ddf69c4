//! Do vector registers survive context switches? Some emulators lose them when a hypervisor
//! switches guests, and then every program that copies memory makes wrong pages.
//!
//! Each round loads all sixteen xmm registers with known values, spins, stores them and compares.

use std::arch::asm;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

const REGISTERS: usize = 16;
/// How long the registers are held: about a scheduler's slice, so that many rounds are switched.
const HOLD: Duration = Duration::from_millis(4);
const DESCRIBED: u64 = 8;

/// One value for each register, xmm0 first.
type Registers = [[u64; 2]; REGISTERS];

#[derive(Default)]
struct Outcome {
    rounds: u64,
    wrong: u64,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().and_then(|arg| arg.parse::<u32>().ok()).filter(|&s| s > 0);
    let (Some(seconds), None) = (seconds, args.next()) else {
        eprintln!("usage: simd-check SECONDS");
        return ExitCode::from(2);
    };
    let total = check(Duration::from_secs(seconds.into()));
    println!("simd-check: {} rounds x {REGISTERS} registers, {} wrong", total.rounds, total.wrong);
    if total.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Two threads for each CPU, so that the kernel switches between them too.
fn check(duration: Duration) -> Outcome {
    let spins = calibrate();
    let threads = 2 * thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || rounds(thread as u64, spins, duration)))
            .collect();
        workers.into_iter().fold(Outcome::default(), |total, worker| {
            // A panic is a failed check, never a good one.
            let part = worker.join().unwrap_or(Outcome { rounds: 0, wrong: 1 });
            Outcome { rounds: total.rounds + part.rounds, wrong: total.wrong + part.wrong }
        })
    })
}

/// Turns of the loop that take about [`HOLD`].
fn calibrate() -> u64 {
    let mut spins = 1000;
    loop {
        let begun = Instant::now();
        hold(&distinct_values(0), spins);
        let elapsed = begun.elapsed();
        if elapsed >= HOLD {
            return spins;
        }
        spins *= 2;
    }
}

fn rounds(thread: u64, spins: u64, duration: Duration) -> Outcome {
    let begun = Instant::now();
    let mut outcome = Outcome::default();
    while begun.elapsed() < duration {
        let wanted = distinct_values((thread << 48) + outcome.rounds);
        let found = hold(&wanted, spins);
        for (number, (wanted, found)) in wanted.iter().zip(&found).enumerate() {
            if wanted != found {
                outcome.wrong += 1;
                if outcome.wrong <= DESCRIBED {
                    eprintln!(
                        "simd-check: thread {thread} round {} xmm{number}: \
                         {wanted:016x?} became {found:016x?}",
                        outcome.rounds
                    );
                }
            }
        }
        outcome.rounds += 1;
    }
    outcome
}

/// Values that no other register, round or thread has.
fn distinct_values(seed: u64) -> Registers {
    std::array::from_fn(|number| {
        let low = (seed * REGISTERS as u64 + number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        [low, !low.rotate_left(23)]
    })
}

/// Loads the registers, spins, and returns what they hold then.
fn hold(wanted: &Registers, spins: u64) -> Registers {
    let mut found = [[0; 2]; REGISTERS];
    let turns = spins.max(1);
    // SAFETY: The block reads the 256 bytes of `wanted` and writes the 256 bytes of `found`, both
    // borrowed for as long as it runs, with instructions that need no alignment. It touches no
    // stack, and every register it changes is declared.
    unsafe {
        asm!(
            "movdqu xmm0, [{wanted}]",
            "movdqu xmm1, [{wanted} + 16]",
            "movdqu xmm2, [{wanted} + 32]",
            "movdqu xmm3, [{wanted} + 48]",
            "movdqu xmm4, [{wanted} + 64]",
            "movdqu xmm5, [{wanted} + 80]",
            "movdqu xmm6, [{wanted} + 96]",
            "movdqu xmm7, [{wanted} + 112]",
            "movdqu xmm8, [{wanted} + 128]",
            "movdqu xmm9, [{wanted} + 144]",
            "movdqu xmm10, [{wanted} + 160]",
            "movdqu xmm11, [{wanted} + 176]",
            "movdqu xmm12, [{wanted} + 192]",
            "movdqu xmm13, [{wanted} + 208]",
            "movdqu xmm14, [{wanted} + 224]",
            "movdqu xmm15, [{wanted} + 240]",
            "2:",
            "dec {turns}",
            "jnz 2b",
            "movdqu [{found}], xmm0",
            "movdqu [{found} + 16], xmm1",
            "movdqu [{found} + 32], xmm2",
            "movdqu [{found} + 48], xmm3",
            "movdqu [{found} + 64], xmm4",
            "movdqu [{found} + 80], xmm5",
            "movdqu [{found} + 96], xmm6",
            "movdqu [{found} + 112], xmm7",
            "movdqu [{found} + 128], xmm8",
            "movdqu [{found} + 144], xmm9",
            "movdqu [{found} + 160], xmm10",
            "movdqu [{found} + 176], xmm11",
            "movdqu [{found} + 192], xmm12",
            "movdqu [{found} + 208], xmm13",
            "movdqu [{found} + 224], xmm14",
            "movdqu [{found} + 240], xmm15",
            wanted = in(reg) wanted.as_ptr(),
            found = in(reg) found.as_mut_ptr(),
            turns = inout(reg) turns => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registers_give_back_every_value_in_its_place() {
        for seed in 0..1000 {
            let wanted = distinct_values(seed);
            assert_eq!(hold(&wanted, 10), wanted);
        }
    }

    #[test]
    fn no_two_registers_of_any_thread_or_round_are_alike() {
        let mut seen = std::collections::HashSet::new();
        for thread in 0..2_u64 {
            for round in 0..100 {
                for value in distinct_values((thread << 48) + round) {
                    assert!(seen.insert(value));
                }
            }
        }
    }
}
