//! Stop rules played over traces of what guests wrote, and held against hindsight.
//!
//! A [trace](trace::Trace) says which pages a guest wrote in each of a row of short windows of time:
//! [recorded](mod@file) from a guest, or [made up](generate) from a seed. Over it a migration is
//! [played](voyage::play): the [engine](engine::Engine) copies pages as `xend`'s does (coldest first, pages
//! written again are put off, the hottest held back), and the policy under test is asked after each
//! round, with just what it would be told in earnest. Guest memory and time are not needed for that, so
//! hundreds of migrations take a second.
//!
//! # What is compared
//!
//! When a policy stops, the rounds are continued past its stop. So the trace has many stops: after
//! round 0, after round 1 and so on, each with the pages sent in all (live rounds and last pass) and the
//! time that the guest stands still. In [hindsight] one can choose among them. The choice is made for
//! the purpose that the policy has been given, with everything known beforehand:
//!
//! - a pause as short as the target is as good as a shorter one;
//! - above the target, a round is worth its while if it shortens the pause by a tenth. So a stop costs
//!   max(downtime, target) / 0.9^rounds, and **the best stop is the one of least cost**: it waits through
//!   any number of bad rounds for a good one, if that one is good enough.
//!
//! A policy is off by two ratios, each of them demanded to be at most 1.15: **its pages to the best
//! stop's, and its downtime to the best stop's** (to the target, where that is longer). Too early a stop
//! shows in the second, too late a stop in the first: no rule can hide in one of them. Rounds are those of
//! the engine; a rule cannot make the price of one smaller.
//!
//! There can be several best stops: the engine stops between rounds only, so stops whose costs differ by
//! less than the price of a single round (a ninth) are taken to be as good as each other, and a policy is
//! held against that of them which is nearest to its own.
//!
//! # What cannot be demanded
//!
//! Hindsight knows when a burst of writing will end, and a rule that is asked in the middle of one does
//! not: whatever it does, there is a guest for which it is wrong by more than any factor. The families
//! `phased`, `sweep` and `moving` are made of such guests, and `recorded` may be
//! ([`generate::FORESEEABLE`] names the others).
//! In each of those at least 85 in 100 traces must be within 1.15, and the median; in all other families
//! every single one must be.

pub mod engine;
pub mod file;
pub mod generate;
pub mod hindsight;
pub mod pages;
pub mod random;
pub mod table;
pub mod trace;
pub mod voyage;
