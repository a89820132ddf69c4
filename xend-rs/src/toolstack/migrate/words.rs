//! What xl says, byte for byte.

/// Receiver: it is there.
pub(super) const BANNER: &[u8; 54] = b"xl migration receiver ready, send binary domain data.\n";
/// Receiver: it has everything.
pub(super) const READY: &[u8; 34] = b"domain received, ready to unpause\0";
/// Sender: go ahead. Receiver, after a failure: have it back.
pub(super) const GO: &[u8; 44] = b"domain is yours, you are cleared to unpause\0";
/// Receiver: a byte follows that says how it went, 0 for well.
pub(super) const REPORT: &[u8; 39] = b"my copy unpause results are as follows\0";

/// What the messages start with: what they are told apart by.
pub(super) const HEAD_BYTES: usize = 8;

/// The first bytes of a message.
pub(super) fn head(message: &[u8]) -> [u8; HEAD_BYTES] {
    *message.first_chunk().expect("every message is longer")
}
