//! Passes over a guest's memory, as the sending helper tells of them.

use crate::ipc::Said;

/// One pass: a round while the guest runs, or the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The helper's own words for it.
    pub what: String,
    /// Pages done so far.
    pub done_pages: u64,
    /// Pages the pass has in all.
    pub total_pages: u64,
}

/// The passes there were, in order.
#[must_use]
pub fn passes(said: &[Said]) -> Vec<Pass> {
    let mut passes: Vec<Pass> = Vec::new();
    for message in said {
        let Said::Progress { what, done, total } = message else { continue };
        // Besides frames, Xen's helper announces single events in the same way, with no total.
        if !what.starts_with("Frames") {
            continue;
        }
        match passes.last_mut() {
            // Xen's helper may give the last pass the name of the round before it.
            Some(pass) if pass.what == *what && *done >= pass.done_pages => {
                pass.done_pages = *done;
                pass.total_pages = *total;
            }
            _ => passes.push(Pass { what: what.clone(), done_pages: *done, total_pages: *total }),
        }
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::{Pass, passes};
    use crate::ipc::Said;

    fn progress(what: &str, done: u64, total: u64) -> Said {
        Said::Progress { what: what.to_owned(), done, total }
    }

    #[test]
    fn the_last_pass_may_have_the_name_of_the_last_round() {
        let said = [
            progress("Start of stream", 0, 0),
            progress("Frames iteration 0", 0, 2000),
            progress("Frames iteration 0", 1024, 2000),
            progress("Frames iteration 0", 2000, 2000),
            Said::Other(3),
            progress("Frames iteration 1", 0, 40),
            progress("Frames iteration 1", 40, 40),
            progress("Frames iteration 1", 0, 12),
            progress("Frames iteration 1", 12, 12),
        ];
        let pass = |what: &str, pages| Pass {
            what: what.to_owned(),
            done_pages: pages,
            total_pages: pages,
        };
        assert_eq!(
            passes(&said),
            [
                pass("Frames iteration 0", 2000),
                pass("Frames iteration 1", 40),
                pass("Frames iteration 1", 12)
            ]
        );
    }
}
