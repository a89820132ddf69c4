//! Running programs of this machine: `ip`, `tc`, `apt-get` and the like.

use std::process::{Command, Output};

use crate::error::{LabError, Result};

/// Runs a program to its end and returns its standard output; any status but 0 is an error that
/// carries what the program said.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(arguments);
    checked(&mut command)
}

/// As [`output`], with the output as text.
pub(crate) fn text(program: &str, arguments: &[&str]) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(program, arguments)?).into_owned())
}

/// Runs a prepared command to its end; see [`output`].
pub(crate) fn checked(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } =
        command.output().map_err(|source| LabError::Spawn { program: name.clone(), source })?;
    if status.success() {
        return Ok(stdout);
    }
    let mut words = vec![name];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    Err(LabError::Program {
        command: words.join(" "),
        status: status.to_string(),
        stderr: String::from_utf8_lossy(&stderr).trim().to_owned(),
    })
}
