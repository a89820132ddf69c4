//! Runs scenarios one after another, each with a deadline, and adds up.

use std::io::{self, Write};
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One thing that is tried on the hosts of a `W`.
#[derive(Debug)]
pub struct Scenario<W> {
    /// Theme and name, as in `pv::to_and_fro`.
    pub name: &'static str,
    /// When this has passed the whole run ends: what hangs holds the hosts.
    pub deadline: Duration,
    /// What to do. Its own steps have shorter deadlines, which say more.
    pub run: fn(&mut W) -> Result<()>,
}

// Derived, it would ask the same of `W`.
impl<W> Clone for Scenario<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Scenario<W> {}

/// Which scenarios to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All there are.
    All,
    /// Those with one of these texts in their names.
    Matching(Vec<String>),
    /// Those of these names.
    Named(&'static [&'static str]),
}

impl Selection {
    /// Whether a scenario of this name is among them.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Matching(texts) => texts.iter().any(|text| name.contains(text.as_str())),
            Self::Named(names) => names.contains(&name),
        }
    }
}

/// Counts over all scenarios of a run.
#[derive(Debug)]
pub struct Totals {
    selection: Selection,
    started: Instant,
    passed: u32,
    failed: Vec<&'static str>,
    filtered_out: u32,
}

impl Totals {
    /// Of nothing so far.
    #[must_use]
    pub fn new(selection: Selection) -> Self {
        Self { selection, started: Instant::now(), passed: 0, failed: Vec::new(), filtered_out: 0 }
    }

    /// Whether any of these will be run.
    #[must_use]
    pub fn wants<W>(&self, scenarios: &[Scenario<W>]) -> bool {
        scenarios.iter().any(|scenario| self.selection.takes(scenario.name))
    }

    /// Runs scenarios, and after each `settle`, which makes the world as it should be and fails
    /// when it was not.
    pub fn run<W>(
        &mut self,
        world: &mut W,
        scenarios: &[Scenario<W>],
        settle: fn(&mut W) -> Result<()>,
    ) {
        for scenario in scenarios {
            if !self.selection.takes(scenario.name) {
                self.filtered_out += 1;
                continue;
            }
            print!("test {} ... ", scenario.name);
            // Nothing can be done about a standard output that is gone.
            let _ = io::stdout().flush();
            let started = Instant::now();
            let alarm = Alarm::set(scenario.name, scenario.deadline);
            let outcome = (scenario.run)(world);
            let settled = settle(world);
            drop(alarm);
            let seconds = started.elapsed().as_secs_f32();
            let outcome = match (outcome, settled) {
                (Ok(()), settled) => settled,
                (Err(error), Ok(())) => Err(error),
                (Err(error), Err(besides)) => Err(anyhow!("{error:#}\nbesides: {besides:#}")),
            };
            match outcome {
                Ok(()) => {
                    self.passed += 1;
                    println!("ok ({seconds:.1} s)");
                }
                Err(error) => {
                    self.failed.push(scenario.name);
                    println!("FAILED ({seconds:.1} s)");
                    println!("    {}", format!("{error:#}").replace('\n', "\n    "));
                }
            }
        }
    }

    /// Takes note of scenarios that could not be tried at all.
    pub fn could_not_run<W>(&mut self, scenarios: &[Scenario<W>], error: &anyhow::Error) {
        println!("the hosts for these scenarios did not come up: {error:#}");
        for Scenario { name, .. } in scenarios {
            if self.selection.takes(name) {
                println!("test {name} ... FAILED (no hosts)");
                self.failed.push(name);
            }
        }
    }

    /// Takes note of scenarios that the filter leaves out, with the hosts they would need.
    pub fn leave_out<W>(&mut self, scenarios: &[Scenario<W>]) {
        self.filtered_out += scenarios.len() as u32;
    }

    /// How many have failed so far.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed.len()
    }

    /// Prints the sum, and returns whether all is well: nothing failed and something was run.
    #[must_use]
    pub fn finish(self) -> bool {
        let good = self.failed.is_empty() && self.passed > 0;
        for name in &self.failed {
            println!("failed: {name}");
        }
        println!(
            "test result: {}. {} passed; {} failed; {} filtered out; finished in {:.0} s",
            if good { "ok" } else { "FAILED" },
            self.passed,
            self.failed.len(),
            self.filtered_out,
            self.started.elapsed().as_secs_f32()
        );
        good
    }
}

/// Ends the process unless it is dropped in time.
struct Alarm {
    _disarm: Sender<()>,
}

impl Alarm {
    fn set(name: &'static str, after: Duration) -> Self {
        let (disarm, disarmed) = mpsc::channel::<()>();
        thread::spawn(move || {
            if disarmed.recv_timeout(after) == Err(RecvTimeoutError::Timeout) {
                println!("FAILED");
                println!("    {name} has no end after {} s; the run ends here", after.as_secs());
                println!("test result: FAILED.");
                // As with Ctrl-C: the lab takes its folders with it, and the status is not 0.
                let _ = kill(Pid::this(), Signal::SIGTERM);
                thread::sleep(Duration::from_secs(5));
                process::exit(1);
            }
        });
        Self { _disarm: disarm }
    }
}

#[cfg(test)]
mod tests {
    use super::{Scenario, Selection, Totals};
    use anyhow::{Result, ensure};
    use std::time::Duration;

    fn scenario(name: &'static str, run: fn(&mut u32) -> Result<()>) -> Scenario<u32> {
        Scenario { name, deadline: Duration::from_secs(60), run }
    }

    fn settle(world: &mut u32) -> Result<()> {
        ensure!(*world < 10, "the world is too large");
        Ok(())
    }

    #[test]
    fn what_fails_is_counted_and_the_rest_is_run() {
        let scenarios = [
            scenario("a::one", |world| {
                *world += 1;
                anyhow::bail!("no")
            }),
            scenario("a::two", |world| {
                *world += 1;
                Ok(())
            }),
            scenario("b::three", |world| {
                *world += 100;
                Ok(())
            }),
        ];
        let mut world = 0;
        let mut totals = Totals::new(Selection::Matching(vec!["a::".to_owned()]));
        totals.run(&mut world, &scenarios, settle);
        assert_eq!((world, totals.passed, totals.failed.len(), totals.filtered_out), (2, 1, 1, 1));
        assert!(!totals.finish());

        let mut totals = Totals::new(Selection::All);
        totals.run(&mut world, &scenarios[1..], settle);
        assert_eq!(totals.failed, ["b::three"], "for what it left behind");

        let mut totals = Totals::new(Selection::Named(&["a::two"]));
        totals.run(&mut 0, &scenarios, settle);
        assert!(totals.finish());
        assert!(!Totals::new(Selection::Named(&["two"])).finish());
    }
}
