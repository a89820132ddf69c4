//! An error and its causes as the one line that a person reads.

use std::error::Error;

/// `error` and what caused it, outermost first, joined by colons.
pub fn error_line(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |&e| e.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::{HypervisorError, types::Domid};
    use crate::migration::{Phase, SaveError, SaveFailure};

    #[test]
    fn each_cause_is_said_once() {
        let error = SaveError {
            phase: Phase::PreCopy,
            cause: SaveFailure::Hypervisor(HypervisorError::Call {
                operation: "map guest frames",
                domid: Domid(3),
                range: None,
                source: std::io::Error::from_raw_os_error(12),
            }),
        };
        assert_eq!(
            error_line(&error),
            "pre-copy: domain 3: map guest frames failed: Cannot allocate memory (os error 12)"
        );
    }
}
