//! Finds the installed Xen's libraries and writes Rust declarations for them.
//!
//! Two things may be missing on a build machine, libxen-dev and libclang-dev. Each gets one error
//! that names the package, in place of a screenful from a C compiler or a panic.

use std::path::{Path, PathBuf};
use std::{env, fs, panic, process};

/// The libraries, by the names of their pkg-config files. The first one carries Xen's version.
const LIBRARIES: [&str; 7] = [
    "xencontrol",
    "xenguest",
    "xencall",
    "xenevtchn",
    "xenforeignmemory",
    "xenstore",
    "xentoollog",
];

/// The calls of those libraries, and C's own printf, which is needed to read their log messages.
const FUNCTIONS: &str = "(xc|xs|xtl|xencall|xenevtchn|xenforeignmemory)_.*|vsnprintf";
/// Constants of the calls and of the hypercalls beneath them.
const CONSTANTS: &str = "(XC|XS|XTL|XEN|XENFEAT|XENMEM|XENVER|SHUTDOWN|HVM|MMU|MMUEXT|GNTTAB|GTF\
                         |VGCF|FIRST_RESERVED|__HYPERVISOR)_.*";
/// Types that no signature mentions; those that one does mention come along by themselves.
const TYPES: &str = "(xc|xen|hvm|start_info|shared_info|vcpu_guest_context|grant|mmuext)_.*\
                     |__HVM_SAVE_TYPE_(END|HEADER|CPU)|domid_t|evtchn_port_t";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=wrapper.h");
    println!("cargo::rerun-if-env-changed=LIBCLANG_PATH");

    let xen = probe_libraries();
    require_libclang();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    write_version(&out, &xen.version);
    write_bindings(&out, &xen.include_paths);
}

struct InstalledXen {
    version: String,
    include_paths: Vec<PathBuf>,
}

/// Has cargo link every library, and says where their headers are.
fn probe_libraries() -> InstalledXen {
    let mut xen = InstalledXen { version: String::new(), include_paths: Vec::new() };
    for name in LIBRARIES {
        let library = pkg_config::probe_library(name).unwrap_or_else(|error| {
            fail(&match error {
                pkg_config::Error::Command { .. } => {
                    "pkg-config cannot be run. Install the package pkg-config (or run: make setup)."
                        .to_owned()
                }
                _ => format!(
                    "Xen's development files are missing ({name}.pc was not found). Install the \
                     package libxen-dev (or run: make setup)."
                ),
            })
        });
        if xen.version.is_empty() {
            xen.version = library.version;
        }
        xen.include_paths.extend(library.include_paths);
    }
    xen.include_paths.sort();
    xen.include_paths.dedup();
    xen
}

/// bindgen loads libclang when it is first used, and panics where there is none.
fn require_libclang() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let found = panic::catch_unwind(bindgen::clang_version);
    panic::set_hook(report);
    if found.is_err() {
        fail(
            "libclang is missing, which reads Xen's headers. Install the package libclang-dev (or \
             run: make setup).",
        );
    }
}

/// Says which Xen release the headers are of: the libraries above libxencall fit no other.
fn write_version(out: &Path, version: &str) {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        fail(&format!("xencontrol.pc gives {version:?} as its version: expected MAJOR.MINOR"));
    };
    let code = format!("pub const XEN_VERSION: (u32, u32) = ({major}, {minor});\n");
    write(&out.join("version.rs"), &code);
}

fn write_bindings(out: &Path, include_paths: &[PathBuf]) {
    let bindings = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(include_paths.iter().map(|path| format!("-I{}", path.display())))
        .allowlist_function(FUNCTIONS)
        .allowlist_var(CONSTANTS)
        .allowlist_type(TYPES)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .layout_tests(true)
        .derive_debug(false)
        .derive_default(true)
        .generate_comments(false)
        .prepend_enum_name(false)
        // A new libxen-dev must bring a rebuild: its headers are dependencies.
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .generate()
        .unwrap_or_else(|error| {
            fail(&format!(
                "Xen's headers could not be read ({error}). If a standard header was not found, \
                 install the package libclang-dev; else libxen-dev may be broken (or run: make \
                 setup)."
            ))
        });
    write(&out.join("bindings.rs"), &bindings.to_string());
}

fn write(path: &Path, text: &str) {
    if let Err(error) = fs::write(path, text) {
        fail(&format!("cannot write {}: {error}", path.display()));
    }
}

/// Ends the build with one line that cargo shows as the error. Leaving with success is on purpose:
/// cargo fails the build all the same, and prints the line without the whole log around it.
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    process::exit(0)
}
