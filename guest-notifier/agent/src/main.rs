//! `xend-agent`: runs in a guest, and makes it cheap to move.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use xend_agent::config::{self, Config};
use xend_agent::grip::Places;
use xend_agent::guardian::{self, Guardian};
use xend_agent::ledger::{self, Ledger};
use xend_agent::memory::Files;
use xend_agent::session::Session;
use xend_agent::work::{self, Work};
use xend_agent::xenbus::GuestStore;

/// Longer than any host waits.
const LONGEST_ZERO: Duration = Duration::from_secs(600);

const USAGE: &str = "\
usage: xend-agent [--config DIR] [--run DIR]    serve the host, in the foreground
       xend-agent release [DIR]                 release what an agent that is gone has left held
       xend-agent --version
Configuration: agent.conf, allow and prepare.d in DIR, by default /etc/xend-agent.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["release"] => {
            release(Path::new(ledger::FOLDER));
            Ok(())
        }
        ["release", folder] => {
            release(Path::new(folder));
            Ok(())
        }
        [guardian::COMMAND, folder] => {
            guardian::run(Path::new(folder), &Places::find(), &Files::default()).map_err(Into::into)
        }
        [work::ZERO, reserve @ ..] => zero(reserve.first().copied()),
        ["--version"] => {
            println!("xend-agent {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        ["--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        options => match folders(options) {
            Some((config, folder)) => serve(config, folder),
            None => {
                eprint!("{USAGE}");
                return ExitCode::from(2);
            }
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xend-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The configuration's folder and the one for what is held.
fn folders<'a>(mut options: &[&'a str]) -> Option<(&'a Path, &'a Path)> {
    let (mut config, mut folder) = (Path::new(config::FOLDER), Path::new(ledger::FOLDER));
    while let [name, value, rest @ ..] = options {
        match *name {
            "--config" => config = Path::new(*value),
            "--run" => folder = Path::new(*value),
            _ => return None,
        }
        options = rest;
    }
    options.is_empty().then_some((config, folder))
}

fn serve(config: &Path, folder: &Path) -> Result<()> {
    let config = Config::read(config)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let _only_one = lock(folder)?;
    release(folder);
    let store = GuestStore::open().context("no xenstore: is this a Xen guest, and are we root?")?;
    let program = std::env::current_exe().context("cannot find our own program")?;
    let guardian = Guardian::start(&program, folder).context("cannot start the guardian")?;
    // A thread that fails must not leave the others in a state that nobody thought of. The guardian
    // releases what is held.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let ledger = Ledger::new(folder);
    let work = Work::new(config, Files::default(), Places::find(), ledger, guardian);
    let mut session =
        Session::start(store, work, instance()?).context("cannot publish the agent in xenstore")?;
    println!("xend-agent: {} is ready", env!("CARGO_PKG_VERSION"));
    session.run(&stop);
    Ok(())
}

/// Zeroes free memory, but for so many KiB, on behalf of an agent that ends us when it is time.
fn zero(reserve_kib: Option<&str>) -> Result<()> {
    fs::write("/proc/self/oom_score_adj", "1000").context("cannot be the first to go")?;
    let reserve_kib = reserve_kib.map(str::parse).transpose().context("not a number")?;
    let (until, goes_on) = (Instant::now() + LONGEST_ZERO, AtomicBool::new(false));
    Files::default().zero_free(reserve_kib, until, &goes_on);
    Ok(())
}

fn release(folder: &Path) {
    let released = ledger::release(folder, &Places::find(), &Files::default());
    if released > 0 {
        println!("xend-agent: {released} things that an earlier agent held are released");
    }
}

/// Held as long as the agent lives: two would tread on each other's nodes.
fn lock(folder: &Path) -> Result<Flock<File>> {
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::Error::EWOULDBLOCK)) => bail!("another xend-agent runs"),
        Err((_, error)) => Err(error).context("cannot lock"),
    }
}

/// A name that no other agent process has, here or where we come to.
fn instance() -> Result<String> {
    use std::io::Read;
    let mut bytes = [0; 8];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
