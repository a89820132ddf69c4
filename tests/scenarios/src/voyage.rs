//! Migrations by whole toolstacks, over a command's pipe or straight over TCP.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::Guest;

use crate::flight::{Flight, Orders, PORT, RECORDS, WATCH_PERIOD, make_room_for_records};
use crate::helper::Helper;
use crate::rig::{Place, Rig};
use crate::toolstack::Toolstack;

/// How the two sides are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By a command that the sender runs, as `ssh` is.
    Pipe,
    /// By TCP between the two, which only xend speaks.
    Tcp,
}

/// Who sends, who receives, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pairing {
    /// Who sends.
    pub sender: Toolstack,
    /// Who receives.
    pub receiver: Toolstack,
    /// By which way.
    pub way: Way,
}

impl Pairing {
    /// `xend` on both sides, over TCP.
    pub const XEND_TCP: Self =
        Self { sender: Toolstack::Xend, receiver: Toolstack::Xend, way: Way::Tcp };
    /// `xend` on both sides, through a pipe.
    pub const XEND_PIPE: Self =
        Self { sender: Toolstack::Xend, receiver: Toolstack::Xend, way: Way::Pipe };
    /// `xend` to `xl`.
    pub const XEND_TO_XL: Self =
        Self { sender: Toolstack::Xend, receiver: Toolstack::Stock, way: Way::Pipe };
    /// `xl` to `xend`.
    pub const XL_TO_XEND: Self =
        Self { sender: Toolstack::Stock, receiver: Toolstack::Xend, way: Way::Pipe };
    /// `xl` on both sides.
    pub const XL: Self =
        Self { sender: Toolstack::Stock, receiver: Toolstack::Stock, way: Way::Pipe };

    /// The same ends the other way round, for the way back between the same two hosts.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { sender: self.receiver, receiver: self.sender, way: self.way }
    }
}

impl fmt::Display for Pairing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Pipe => "a pipe",
            Way::Tcp => "TCP",
        };
        write!(f, "{} to {} by {way}", self.sender, self.receiver)
    }
}

/// What is put into the environment of the two sides, as `NAME=value` words, what else the sender is told,
/// and how it is watched.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Of the sender.
    pub sender: String,
    /// Of the receiver.
    pub receiver: String,
    /// Further options of the sender's `migrate`.
    pub options: String,
    /// Whether what Xen's own helpers say and cost is written down; for `xl` on both sides.
    pub recorded: bool,
    /// How often a client asks the guest for an answer.
    pub watch_period: Duration,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            sender: String::new(),
            receiver: String::new(),
            options: String::new(),
            recorded: false,
            watch_period: WATCH_PERIOD,
        }
    }
}

impl Environment {
    /// Has the sender's `migrate` take further options.
    #[must_use]
    pub fn with_options(options: &str) -> Self {
        Self { options: options.to_owned(), ..Self::default() }
    }

    /// Has `xl` on both sides run Xen's own helper, with what it says and costs written down.
    #[must_use]
    pub fn recorded() -> Self {
        let helper = Helper::Stock.recorded_environment(RECORDS);
        Self { sender: helper.clone(), receiver: helper, recorded: true, ..Self::default() }
    }

    /// Has the client ask so often. Each time costs the guest some pages, and the fewer the less is known
    /// of how long it is away.
    #[must_use]
    pub fn watched_every(self, watch_period: Duration) -> Self {
        Self { watch_period, ..self }
    }

    /// Has one side stop (SIGSTOP) when it comes to a step of its conversation.
    #[must_use]
    pub fn stopping(side: Side, step: &str) -> Self {
        let stop = format!("XEND_STOP_AT={step}");
        match side {
            Side::Sender => Self { sender: stop, ..Self::default() },
            Side::Receiver => Self { receiver: stop, ..Self::default() },
        }
    }
}

/// One side of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The host that the guest is on at the beginning.
    Sender,
    /// The other one.
    Receiver,
}

/// Starts a migration.
///
/// # Errors
/// When a host does not answer, or `xl` is to speak TCP.
pub fn set_out<'a>(
    rig: &'a Rig,
    guest: &Guest,
    from: Place,
    pairing: Pairing,
    environment: &Environment,
) -> Result<Flight<'a>> {
    let Pairing { sender, receiver, way } = pairing;
    let ip = rig.host(from.other()).ip();
    let address = format!("{ip}:{PORT}");
    let Environment { sender: sender_env, receiver: receiver_env, options, recorded, watch_period } =
        environment;
    let watch_period = *watch_period;
    if *recorded {
        make_room_for_records(rig)?;
    }
    let orders = match way {
        Way::Pipe => Orders {
            receive: format!(
                "exec relay listen --once {address} -- env {receiver_env} {receiver} \
                 migrate-receive"
            ),
            send: format!(
                "exec env {sender_env} {sender} migrate {options} -s '' {} \
                 'exec relay connect {address}'",
                guest.name()
            ),
            serves: false,
            watch_period,
        },
        Way::Tcp => {
            ensure!(
                (sender, receiver) == (Toolstack::Xend, Toolstack::Xend),
                "only xend migrates over TCP"
            );
            Orders {
                receive: server(&address, receiver_env),
                send: format!(
                    "exec env {sender_env} xend migrate {options} --plain-tcp {} tcp://{address}",
                    guest.name()
                ),
                serves: true,
                watch_period,
            }
        }
    };
    Flight::launch(rig, guest, from, &orders, *recorded)
}

/// The command of a receiving server.
#[must_use]
pub fn server(address: &str, environment: &str) -> String {
    format!("exec env {environment} xend receive --plain-tcp --listen {address}")
}
