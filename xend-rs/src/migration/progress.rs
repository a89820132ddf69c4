//! How far a transfer is, in numbers that only ever describe what has happened.

/// What the engine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Copying memory while the guest runs; rounds count from 0.
    PreCopy {
        /// The round.
        round: u32,
    },
    /// The guest is suspended; the rest travels.
    StopAndCopy,
    /// The guest is suspended; everything is sent again to be compared (`--debug`).
    Verify,
    /// Taking memory in.
    Receiving,
}

/// A snapshot of a transfer under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Pages of this stage that are done.
    pub done_pages: u64,
    /// Those of them whose contents travelled.
    pub data_pages: u64,
    /// Pages that this stage has in all, as known now.
    pub total_pages: u64,
    /// Bytes that have travelled, as far as is known here, since the transfer began.
    pub sent_bytes: u64,
}
