//! Writes the sound streams that fuzzing starts from: `write_seeds CORPUS_DIRECTORY`.

use std::path::Path;
use std::{env, fs, io};

use xend_rs::stream::fuzz::sample;
use xend_rs::stream::libxc::ImageVersion;

fn main() -> io::Result<()> {
    let corpus = env::args_os().nth(1).expect("usage: write_seeds CORPUS_DIRECTORY");
    let corpus = Path::new(&corpus);
    let xl_pv = sample::xl_pv_file();
    let (header, stream) = xl_pv.split_at(sample::XL_PV_HEADER_BYTES);
    let [offer, answer, frames] = sample::xend_messages().try_into().expect("three of them");
    let seeds = [
        ("xend", "offer", offer),
        ("xend", "answer", answer),
        ("xend", "frames", frames),
        ("libxc", "pv_v2", sample::pv_image(ImageVersion::V2)),
        ("libxc", "pv_v3", sample::pv_image(ImageVersion::V3)),
        ("libxc", "hvm_v2", sample::hvm_image(ImageVersion::V2)),
        ("libxc", "hvm_v3", sample::hvm_image(ImageVersion::V3)),
        ("libxc", "xend", sample::xend_image()),
        ("libxl", "hvm", sample::libxl_hvm_stream()),
        ("libxl", "pv", stream.to_vec()),
        ("xl_header", "pv", header.to_vec()),
        ("xl_header", "pv_file", xl_pv.clone()),
    ];
    for (target, name, bytes) in seeds {
        let directory = corpus.join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(name), bytes)?;
    }
    Ok(())
}
