//! The two save helpers that stock `xl` can be told to use.

use std::fmt;

use lab::Host;

/// Where the program under test is in each Dom0.
pub const OURS: &str = "/lab/under-test/xend-save-helper";
/// Where Xen's own helper is.
pub const STOCK: &str = "/usr/lib/xen-4.17/bin/libxl-save-helper";

/// Who copies the guest's memory, on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helper {
    /// `xend-save-helper`.
    Ours,
    /// Xen's own `libxl-save-helper`.
    Stock,
}

impl Helper {
    /// Its path in a Dom0.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Ours => OURS,
            Self::Stock => STOCK,
        }
    }

    /// What to put before `xl` so that it uses this helper.
    #[must_use]
    pub fn environment(self) -> String {
        format!("LIBXL_SAVE_HELPER={}", self.path())
    }

    /// What to put before `xl` so that it uses this helper, and what the helper says and costs is
    /// written down in `folder`. A script stands between, so a signal would not reach the helper.
    #[must_use]
    pub fn recorded_environment(self, folder: &str) -> String {
        format!(
            "LIBXL_SAVE_HELPER={RECORDER} RECORDED_HELPER={} RECORD_FOLDER={folder}",
            self.path()
        )
    }
}

impl fmt::Display for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "xend",
            Self::Stock => "stock",
        })
    }
}

const RECORDER: &str = "/lab/under-test/recorder";

/// Runs the helper, copies its side of the conversation with libxl into a file, and has the kernel
/// account for it. Costs one pipe for a few hundred short messages.
const RECORDER_SCRIPT: &str = "#!/bin/sh\n\
    { time -v -o \"$RECORD_FOLDER/cost\" \"$RECORDED_HELPER\" \"$@\"; } | \
    tee \"$RECORD_FOLDER/said\"\n";

/// Puts the recorder into a Dom0.
///
/// # Errors
/// When it cannot be written there.
pub fn install_recorder(host: &Host) -> lab::Result<()> {
    host.put_bytes(RECORDER_SCRIPT.as_bytes(), RECORDER, 0o755)
}
