//! Both sides of a migration on simulated hosts: with each other, with a peer that speaks xl's
//! words, and killed at every step.

mod crashes;
mod stock;
mod talk;
mod world;
