//! A full pass over all pages, asked for over a network that loses datagrams.
//!
//! The client repeats its request until it has the answer. The identifier it chose makes a
//! repetition join the pass that is running, or get the result that is there, and never start
//! another.

use crate::memory::{FoundBy, Memory, Wrong};
use crate::tally::{DESCRIBED, Tally};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Longest identifier that is accepted, in bytes.
pub(crate) const MAX_ID_BYTES: usize = 64;

struct Pass {
    id: String,
    client: SocketAddr,
    started_ns: u64,
    next: usize,
    wrong: u64,
    described: Vec<Wrong>,
}

/// The pass that is running and the result of the last one.
#[derive(Default)]
pub(crate) struct Verifier {
    running: Option<Pass>,
    finished: Option<(String, Value)>,
}

impl Verifier {
    /// Starts a pass, or joins the one of the same identifier. Returns an answer when there is one
    /// already: the result of that pass, or that another one is running. A request without an
    /// identifier (an empty one) always asks for a new pass.
    pub(crate) fn request(&mut self, id: &str, client: SocketAddr, now_ns: u64) -> Option<Value> {
        if let Some(pass) = &mut self.running {
            if pass.id != id {
                return Some(json!({"id": id, "error": format!("busy with verify {}", pass.id)}));
            }
            pass.client = client;
            return None;
        }
        match &self.finished {
            Some((finished_id, result)) if finished_id == id && !id.is_empty() => {
                Some(result.clone())
            }
            _ => {
                self.running = Some(Pass {
                    id: id.to_owned(),
                    client,
                    started_ns: now_ns,
                    next: 0,
                    wrong: 0,
                    described: Vec::new(),
                });
                None
            }
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Checks the next page of the running pass. Returns the fault when it is to be told at once.
    pub(crate) fn step(&mut self, memory: &mut Memory, tally: &mut Tally) -> Option<Wrong> {
        let pass = self.running.as_mut().filter(|pass| pass.next < memory.page_count())?;
        let index = pass.next;
        pass.next += 1;
        let result = memory.check(index, FoundBy::Verify);
        if let Some(wrong) = result {
            pass.wrong += 1;
            if pass.described.len() < DESCRIBED {
                pass.described.push(wrong);
            }
        }
        tally.note(index, result)
    }

    /// The result and whom to send it to, once every page was checked.
    pub(crate) fn finish(
        &mut self,
        memory: &Memory,
        tally: &Tally,
        now_ns: u64,
    ) -> Option<(SocketAddr, Value)> {
        let pass = self.running.take_if(|pass| pass.next == memory.page_count())?;
        let result = json!({
            "id": pass.id,
            "pages_verified": pass.next,
            "pages_wrong": pass.wrong,
            "duration_ms": now_ns.saturating_sub(pass.started_ns) / 1_000_000,
            "wrong": pass.described.into_iter().map(Wrong::to_json).collect::<Vec<_>>(),
            "wrong_since_start": tally.wrong(),
        });
        self.finished = Some((pass.id, result.clone()));
        Some((pass.client, result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Steps to the end; the result and how many pages that took.
    fn complete(
        verifier: &mut Verifier,
        memory: &mut Memory,
        tally: &mut Tally,
    ) -> (SocketAddr, Value) {
        for _ in 0..memory.page_count() {
            assert!(verifier.finish(memory, tally, 5_000_000).is_none());
            verifier.step(memory, tally);
        }
        verifier.finish(memory, tally, 5_000_000).expect("every page was checked")
    }

    #[test]
    fn a_repeated_request_joins_the_pass_and_later_gets_its_result() {
        let (mut memory, mut tally) = (Memory::filled(20).expect("pages"), Tally::new(20));
        let mut verifier = Verifier::default();
        assert_eq!(verifier.request("a", client(1), 0), None);
        verifier.step(&mut memory, &mut tally);
        assert_eq!(verifier.request("a", client(2), 1), None, "not started anew");
        assert!(verifier.request("b", client(3), 1).expect("busy")["error"].is_string());
        for _ in 0..19 {
            verifier.step(&mut memory, &mut tally);
        }
        let (to, result) = verifier.finish(&memory, &tally, 5_000_000).expect("complete");
        assert_eq!(to, client(2));
        assert_eq!(result["pages_verified"], 20);
        assert_eq!(result["pages_wrong"], 0);
        assert_eq!(result["duration_ms"], 5);
        assert_eq!(verifier.request("a", client(2), 9), Some(result));
        assert!(!verifier.is_running());
        assert_eq!(verifier.request("b", client(2), 9), None);
        assert!(verifier.is_running());
    }

    #[test]
    fn requests_without_identifier_always_start_a_new_pass() {
        let (mut memory, mut tally) = (Memory::filled(3).expect("pages"), Tally::new(3));
        let mut verifier = Verifier::default();
        for _ in 0..2 {
            assert_eq!(verifier.request("", client(1), 0), None);
            complete(&mut verifier, &mut memory, &mut tally);
        }
        assert_eq!(tally.checked(), 6);
    }

    #[test]
    fn wrong_pages_are_all_counted_and_the_first_ones_described() {
        let (mut memory, mut tally) = (Memory::filled(30).expect("pages"), Tally::new(30));
        for index in 10..22 {
            memory.corrupt(index, 4000, 2);
        }
        let mut verifier = Verifier::default();
        verifier.request("a", client(1), 0);
        let (_, result) = complete(&mut verifier, &mut memory, &mut tally);
        assert_eq!(result["pages_wrong"], 12);
        assert_eq!(result["wrong_since_start"], 12);
        assert_eq!(result["wrong"].as_array().map(Vec::len), Some(8));
        assert_eq!(result["wrong"][0]["page"], 10);
        assert_eq!(result["wrong"][0]["byte_offset"], 4000);
        assert_eq!(result["wrong"][0]["found_by"], "verify");
    }
}
