//! Two hosts with the programs under test on them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::{Host, HostSpec, Images, Isolation, Lab, images};

use crate::programs::Programs;

/// For commands that only ask for something.
pub const ASK: Duration = Duration::from_secs(30);

/// What has to be made while there is still a network: images and programs.
#[derive(Debug)]
pub struct Ground {
    images: Images,
    programs: Programs,
}

impl Ground {
    /// Builds what is missing.
    ///
    /// # Errors
    /// What this machine lacks, in one line.
    pub fn prepare() -> Result<Self> {
        lab::check_machine()?;
        let programs = Programs::build()?;
        let images = images::ensure().context("cannot make the lab's images")?;
        Ok(Self { images, programs })
    }

    /// The programs under test, on this machine.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Boots two hosts, named `a` and `b`, and puts the programs into their Dom0s. Call it from
    /// the main thread, before others are started.
    ///
    /// # Errors
    /// What the lab says.
    pub fn boot(&self, spec: HostSpec) -> Result<Rig> {
        self.boot_all(&[spec; 2])
    }

    /// Boots one host alone, named `a`: for what needs no migration. There is no host `b` then, and
    /// asking for it is an error of the caller's.
    ///
    /// # Errors
    /// The same.
    pub fn boot_alone(&self, spec: HostSpec) -> Result<Rig> {
        self.boot_all(&[spec])
    }

    fn boot_all(&self, specs: &[HostSpec]) -> Result<Rig> {
        let started = Instant::now();
        let isolation = Isolation::enter()?;
        let lab = Lab::up(isolation, &self.images, specs)?;
        for host in lab.hosts() {
            self.programs.install(host).context("cannot put the programs into a Dom0")?;
        }
        let which = if specs.len() == 1 { "one Xen host is" } else { "two Xen hosts are" };
        println!("{which} up after {:.0} s", started.elapsed().as_secs_f32());
        Ok(Rig { lab })
    }
}

/// Two hosts, or one alone, ready.
#[derive(Debug)]
pub struct Rig {
    lab: Lab,
}

impl Rig {
    /// The lab: hosts, link, observer.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A host.
    #[must_use]
    pub fn host(&self, place: Place) -> &Host {
        &self.lab.hosts()[match place {
            Place::A => 0,
            Place::B => 1,
        }]
    }

    /// All of its hosts.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        self.lab.hosts()
    }
}

/// One of the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The host named `a`.
    A,
    /// The host named `b`.
    B,
}

impl Place {
    /// The other host.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The host's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}
