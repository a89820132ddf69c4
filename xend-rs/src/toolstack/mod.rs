//! Guests as an administrator sees them: their configuration, devices, life and moves.
//!
//! [`xlcfg`] reads the text that people write; [`config`] is what the toolstack keeps of a guest: the same document that libxl keeps, so that
//! stock `xl` manages the same guests.

pub mod config;
pub mod fuzz;
pub mod xlcfg;
