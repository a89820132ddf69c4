//! The fuzz bodies over damaged sound streams and configurations, for a few seconds each.
//!
//! `XEND_FUZZ_SECONDS` sets how long; a failure prints the seed that repeats it.

use std::time::Duration;

use arbitrary::Unstructured;
use arbtest::arbtest;
use xend_rs::stream::fuzz::{self, sample};
use xend_rs::stream::libxc::ImageVersion;
use xend_rs::toolstack;

fn budget() -> Duration {
    let seconds = std::env::var("XEND_FUZZ_SECONDS").ok();
    Duration::from_secs(seconds.map_or(5, |s| s.parse().expect("XEND_FUZZ_SECONDS in seconds")))
}

/// Runs `body` over `seeds` as they are, then over damaged ones until the time is up.
fn run(seeds: &[Vec<u8>], body: fn(&[u8])) {
    seeds.iter().for_each(|seed| body(seed));
    arbtest(|u| {
        let mut data = u.choose(seeds)?.clone();
        for _ in 0..u.int_in_range(1..=6)? {
            damage(&mut data, seeds, u)?;
        }
        body(&data);
        Ok(())
    })
    .budget(budget());
}

/// Changes one thing.
fn damage(
    data: &mut Vec<u8>,
    seeds: &[Vec<u8>],
    u: &mut Unstructured<'_>,
) -> arbitrary::Result<()> {
    // Most of a stream is page contents, which nothing looks at: aim at the words in between.
    let words = interesting_words(data);
    let at = if u.ratio(3, 4)? && !words.is_empty() {
        *u.choose(&words)?
    } else {
        u.choose_index(data.len() + 1)?
    };
    match u.int_in_range(0..=5)? {
        0 if at < data.len() => data[at] ^= 1 << u.int_in_range(0..=7)?,
        1 => overwrite(
            data,
            at,
            &u.choose(&[0_u32, 1, 7, 8, 0x13, 1 << 20, 1 << 27, 1 << 31, !0])?.to_le_bytes(),
        ),
        2 => overwrite(data, at, &u.arbitrary::<u32>()?.to_le_bytes()),
        3 => data.truncate(at),
        4 => {
            let length = u.int_in_range(0..=64)?;
            data.drain(at.min(data.len())..(at + length).min(data.len()));
        }
        _ => {
            let other = u.choose(seeds)?;
            let from = u.choose_index(other.len())?;
            let to = (from + u.int_in_range(1..=256)?).min(other.len());
            data.splice(at..at, other[from..to].iter().copied());
        }
    }
    Ok(())
}

fn overwrite(data: &mut [u8], at: usize, value: &[u8]) {
    for (byte, value) in data.iter_mut().skip(at).zip(value) {
        *byte = *value;
    }
}

/// Offsets of 4-byte words that differ from the one before: headers, counts, pfns.
fn interesting_words(data: &[u8]) -> Vec<usize> {
    let (words, _) = data.as_chunks::<4>();
    (1..words.len()).filter(|i| words[*i] != words[i - 1]).map(|i| i * 4).collect()
}

fn images() -> Vec<Vec<u8>> {
    vec![
        sample::pv_image(ImageVersion::V2),
        sample::pv_image(ImageVersion::V3),
        sample::hvm_image(ImageVersion::V2),
        sample::hvm_image(ImageVersion::V3),
        sample::xend_image(),
    ]
}

#[test]
fn libxc() {
    run(&images(), fuzz::libxc);
}

#[test]
fn libxl() {
    let pv = sample::xl_pv_file()[sample::XL_PV_HEADER_BYTES..].to_vec();
    let seeds = [pv, sample::libxl_hvm_stream(), sample::libxl_hvm_stream_without_xenstore_data()];
    run(&seeds, fuzz::libxl);
}

#[test]
fn xl_header() {
    let whole = sample::xl_pv_file();
    let header = whole[..sample::XL_PV_HEADER_BYTES].to_vec();
    run(&[whole, header], fuzz::xl_header);
}

/// The configurations that the golden tests compare, by how their names end.
fn configurations(ending: &str) -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/config");
    let files = std::fs::read_dir(folder).expect("the golden configurations");
    let paths = files.map(|file| file.expect("a golden configuration").path());
    let matching = paths.filter(|path| path.to_string_lossy().ends_with(ending));
    let seeds: Vec<_> =
        matching.map(|path| std::fs::read(path).expect("a golden configuration")).collect();
    assert!(!seeds.is_empty(), "no {ending} in {folder}");
    seeds
}

#[test]
fn xlcfg() {
    run(&configurations(".cfg"), toolstack::fuzz::xlcfg);
}

#[test]
fn libxl_json() {
    run(&configurations(".json"), toolstack::fuzz::document);
}

#[test]
fn xend() {
    run(&sample::xend_messages(), fuzz::xend);
}

#[test]
fn bytes_of_no_format() {
    arbtest(|u| {
        let data = u.bytes(u.len())?;
        fuzz::libxc(data);
        fuzz::libxl(data);
        fuzz::xl_header(data);
        fuzz::xend(data);
        toolstack::fuzz::xlcfg(data);
        toolstack::fuzz::document(data);
        Ok(())
    })
    .budget(Duration::from_secs(1));
}
