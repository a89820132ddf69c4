//! Streams that are cut off or corrupted, in every layer and most records.
//!
//! What the receiver has to do with each: end with one line that says what is wrong, in which
//! record, at which byte; exit non-zero; leave no half-built domain.

use std::fs;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::{GuestKind, Host};
use scenarios::helper::Helper::Ours;
use scenarios::programs::workspace;
use scenarios::rig::ASK;
use scenarios::runner::Scenario;
use scenarios::savefile::{self, FILE, Layout};
use scenarios::traveller::small;

use crate::world::World;

pub(crate) const SCENARIOS: &[Scenario<World>] = &[Scenario {
    name: "damage::every_damaged_stream_is_refused",
    deadline: Duration::from_secs(420),
    run: every_damage,
}];

const RECEIVE_TIMEOUT: Duration = Duration::from_secs(60);
/// A domain that is being destroyed stays in the list for a moment.
const GONE_TIMEOUT: Duration = Duration::from_secs(5);

const PAGE_DATA: u32 = 0x01;
const P2M_FRAMES: u32 = 0x03;
const VCPU_BASIC: u32 = 0x04;
const SHARED_INFO: u32 = 0x07;
const STATIC_DATA_END: u32 = 0x10;
const CPUID_POLICY: u32 = 0x11;

/// One way to damage a file.
struct Case {
    name: &'static str,
    damage: Damage,
    blame: Blame,
}

/// Who is given the damaged stream.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// `xl migrate-receive`, through a pipe.
    Receive,
    /// `xl restore`, as a file.
    Restore,
}

/// These go both ways; behind `xl` both are the same.
const ALSO_RESTORED: &[&str] = &["cut in later pages", "unknown mandatory record"];

impl Case {
    fn ways(&self) -> &'static [Way] {
        if ALSO_RESTORED.contains(&self.name) {
            &[Way::Receive, Way::Restore]
        } else {
            &[Way::Receive]
        }
    }
}

/// What is done, at an offset in the file.
enum Damage {
    Cut { at: u64 },
    Patch { at: u64, bytes: Vec<u8> },
}

/// Who has to complain, and of what.
enum Blame {
    /// xl or libxl themselves, in their own layers. Two of their faults are not among the cases,
    /// since no helper has a part in them: on a bad libxl header `xl` 4.17 crashes and leaves a
    /// domain, and the end of the stream passes for libxl's END record.
    Xl,
    /// Our helper: these words, and a byte within this range of the file.
    Ours { place: String, bytes: Range<u64> },
}

fn every_damage(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&small(GuestKind::Pv))?;
    let host = world.rig().host(place);
    savefile::save(host, &guest, Ours)?;
    let local = workspace().join("target/saved-to-be-damaged");
    savefile::fetch(host, &local)?;
    let layout = Layout::of(&fs::read(&local).context("cannot read the saved file")?)?;
    let _ = fs::remove_file(&local);
    let mut cases = cuts(&layout)?;
    cases.extend(corrupted_headers(&layout));
    cases.extend(corrupted_records(&layout)?);
    let total = cases.len();
    let mut failures = Vec::new();
    for case in cases {
        for way in case.ways() {
            if let Err(error) = try_case(host, &layout, &case, *way) {
                failures.push(format!("{} {way:?}: {error:#}", case.name));
            }
        }
    }
    // The undamaged file still is one.
    savefile::restore(host, Ours).context("the undamaged file")?;
    host.run_ok(&format!("rm {FILE} {FILE}.damaged"), ASK)?;
    world.require_undisturbed(&guest, place)?;
    ensure!(
        failures.is_empty(),
        "{} of {total} damages are not handled:\n{}",
        failures.len(),
        failures.join("\n")
    );
    Ok(())
}

fn cuts(layout: &Layout) -> Result<Vec<Case>> {
    let cut = |name, at, blame| Case { name, damage: Damage::Cut { at }, blame };
    let image = layout.image_at;
    let first = layout.records.first().context("the image has no record")?;
    let (_, policy) = layout.first(CPUID_POLICY)?;
    let (_, p2m) = layout.first(P2M_FRAMES)?;
    let (_, pages) = layout.first(PAGE_DATA)?;
    let (_, vcpu) = layout.first(VCPU_BASIC)?;
    let end = layout.records.last().context("the image has no END")?.at;
    let middle = layout
        .records
        .iter()
        .rfind(|record| record.record_type == PAGE_DATA && record.at < layout.length / 2)
        .context("no pages in the first half")?;
    let ours = |name, at| -> Case {
        // A truncated stream is at fault where it ends.
        let blame = Blame::Ours { place: place_of(layout, at), bytes: at..at + 1 };
        cut(name, at, blame)
    };
    Ok(vec![
        cut("cut in the xl header", 20, Blame::Xl),
        cut("cut in the configuration", layout.config_at + 10, Blame::Xl),
        cut("cut before the libxc context", layout.libxl_at + 16, Blame::Xl),
        ours("cut before the image", image),
        ours("cut in the image header", image + 10),
        ours("cut in the domain header", image + 24 + 7),
        ours("cut in a record header", first.at + 3),
        ours("cut in the CPU policy", policy.body_at() + 5),
        ours("cut in the P2M frames", p2m.body_at() + 9),
        ours("cut in a page list", pages.body_at() + 8 + 3),
        ours("cut in the first pages", pages.end() - 5000),
        ours("cut in later pages", middle.end() - 5000),
        ours("cut in a vCPU", vcpu.body_at() + 100),
        ours("cut before END", end),
        ours("cut in END", end + 5),
    ])
}

fn corrupted_headers(layout: &Layout) -> Vec<Case> {
    let image = layout.image_at;
    let header = |name, at, bytes: &[u8]| Case {
        name,
        damage: Damage::Patch { at, bytes: bytes.to_vec() },
        blame: Blame::Ours {
            place: place_of(layout, at),
            bytes: if at < image + 24 { image..image + 24 } else { image + 24..image + 40 },
        },
    };
    vec![
        Case {
            name: "wrong xl magic",
            damage: Damage::Patch { at: 0, bytes: b"Yen".to_vec() },
            blame: Blame::Xl,
        },
        header("wrong image marker", image, &[0]),
        header("wrong image magic", image + 8, b"YENF"),
        header("wrong image version", image + 12, &[0, 0, 0, 99]),
        header("big-endian image", image + 16, &[0, 1]),
        header("unknown kind of guest", image + 24, &[9]),
        header("unknown page size", image + 28, &[13]),
    ]
}

fn corrupted_records(layout: &Layout) -> Result<Vec<Case>> {
    let patch = |name, record_type, from_header: i64, bytes: &[u8]| -> Result<Case> {
        let (_, record) = layout.first(record_type)?;
        let at = record.at.checked_add_signed(from_header).context("an offset out of range")?;
        Ok(Case {
            name,
            damage: Damage::Patch { at, bytes: bytes.to_vec() },
            blame: Blame::Ours { place: place_of(layout, at), bytes: record.at..record.end() },
        })
    };
    let in_body = |offset: i64| 8 + offset;
    let mut out_of_order = patch("no STATIC_DATA_END", STATIC_DATA_END, 0, &[0x55, 0, 0, 0x80])?;
    let (_, after) = layout.first(P2M_FRAMES)?;
    out_of_order.blame =
        Blame::Ours { place: place_of(layout, after.at), bytes: after.at..after.end() };
    Ok(vec![
        patch("unknown mandatory record", PAGE_DATA, 0, &[0x7f])?,
        patch("oversize length", PAGE_DATA, 4, &[0xff; 4])?,
        patch("length that does not fit", PAGE_DATA, 4, &[24, 0, 0, 0])?,
        patch("page count too large", PAGE_DATA, in_body(0), &[0xff; 4])?,
        patch("no pages", PAGE_DATA, in_body(0), &[0; 4])?,
        patch("bad page type", PAGE_DATA, in_body(8 + 7), &[0x50])?,
        patch("pfn out of range", PAGE_DATA, in_body(8 + 4), &[0x7f])?,
        patch("too many P2M frames", P2M_FRAMES, in_body(4), &[0xff; 4])?,
        patch("vCPU that is not there", VCPU_BASIC, in_body(0), &[99])?,
        patch("short shared info", SHARED_INFO, 4, &[8, 0])?,
        out_of_order,
    ])
}

/// The words for the part of the image that a byte of the file is in.
fn place_of(layout: &Layout, at: u64) -> String {
    if at < layout.image_at + 24 {
        return "libxc image header".to_owned();
    }
    match layout.records.iter().rposition(|record| record.at <= at) {
        None => "libxc domain header".to_owned(),
        Some(index) => format!("libxc record {index}"),
    }
}

fn try_case(host: &Host, layout: &Layout, case: &Case, way: Way) -> Result<()> {
    let stream = match &case.damage {
        Damage::Cut { at } => part(0, Some(*at)),
        Damage::Patch { at, bytes } => {
            let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
            let rest = part(at + bytes.len() as u64, None);
            format!("{{ {}; printf '{octal}'; {rest}; }}", part(0, Some(*at)))
        }
    };
    let xl = format!("{} xl", Ours.environment());
    let command = match way {
        Way::Receive => format!("{stream} | {xl} migrate-receive"),
        Way::Restore => format!("{stream} >{FILE}.damaged; {xl} restore {FILE}.damaged"),
    };
    let output = host.run(&command, RECEIVE_TIMEOUT)?;
    let said = output.stderr_text();
    ensure!(output.status != 0, "the receiver does not fail: {said}");
    require_no_domain(host).with_context(|| said.clone())?;
    let lines: Vec<&str> =
        said.lines().filter_map(|line| line.split_once("xend: error: ")).map(|l| l.1).collect();
    match (&case.blame, lines.as_slice()) {
        (Blame::Xl, []) => Ok(()),
        (Blame::Xl, lines) => bail!("this is xl's to complain of, not ours: {lines:?}"),
        (Blame::Ours { place, bytes }, [line]) => {
            let byte = byte_in(line).with_context(|| format!("no byte is named: {line}"))?;
            let range = bytes.start - layout.image_at..bytes.end - layout.image_at;
            ensure!(
                line.contains(place.as_str()) && range.contains(&byte),
                "expected {place} and a byte in {range:?}: {line}"
            );
            Ok(())
        }
        (Blame::Ours { .. }, lines) => bail!("one line was expected, not {lines:?} in: {said}"),
    }
}

/// The command that gives a part of the file. busybox's `head` would go byte by byte.
fn part(from: u64, bytes: Option<u64>) -> String {
    let count = bytes.map_or(String::new(), |bytes| format!(" count={bytes}"));
    format!("dd if={FILE} bs=256k iflag=skip_bytes,count_bytes skip={from}{count} 2>/dev/null")
}

fn byte_in(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("at byte ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn require_no_domain(host: &Host) -> Result<()> {
    let deadline = Instant::now() + GONE_TIMEOUT;
    loop {
        let domains = host.domains()?;
        let Some(left) = domains.iter().find(|domain| domain.id != 0) else { return Ok(()) };
        if Instant::now() >= deadline {
            // Or the next case would be blamed for it.
            host.run(&format!("xl destroy {}", left.id), ASK)?;
            bail!("a domain is left: {left:?}");
        }
    }
}
