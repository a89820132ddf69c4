//! Our documents beside those of the real `xl`: see `tests/golden/config` for how they came about.

use std::fs;
use std::path::{Path, PathBuf};

use super::{DomainConfig, HostContext, HostCpus, SchedulerParams};
use crate::toolstack::xlcfg::Settings;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/config")
}

/// The host that the documents were recorded on.
fn lab_host() -> HostContext {
    let cpus = HostCpus { count: 1, nodes: vec![vec![0]] };
    HostContext { cpus: Some(cpus), ..HostContext::default() }
}

fn made(name: &str) -> DomainConfig {
    let text = fs::read(folder().join(format!("{name}.cfg"))).expect("a golden xl.cfg");
    let settings = Settings::parse(name, &text).expect("what xl reads");
    let (config, _) = DomainConfig::from_xlcfg_on(&settings, &lab_host()).expect("what xl takes");
    config
}

fn recorded(name: &str) -> String {
    fs::read_to_string(folder().join(name)).expect("a golden document")
}

fn names() -> Vec<String> {
    let files = fs::read_dir(folder()).expect("the golden documents");
    let paths = files.map(|file| file.expect("a golden document").path());
    let mut names: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "cfg"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_xl_create_makes_of_a_configuration() {
    let names = names();
    assert!(names.len() >= 12, "only {names:?}");
    for name in names {
        assert_eq!(made(&name).to_json(), recorded(&format!("{name}.json")), "{name}");
    }
}

#[test]
fn what_libxl_stores_with_a_domain() {
    for name in ["pv-run", "pvh-run"] {
        let stored = made(name).with_create_defaults().expect("addresses are all given");
        let recorded = recorded(&format!("{name}.stored.json"));
        assert_eq!(stored.to_userdata(), recorded.as_bytes(), "{name}");
    }
}

#[test]
fn what_xl_saves_and_restores() {
    let mut moving = made("pv-run").with_create_defaults().expect("addresses are all given");
    let credit2 = SchedulerParams { weight: Some(256), cap: Some(0), ..Default::default() };
    moving.set_scheduler("credit2", &credit2);
    moving.remove_domid();
    assert_eq!(moving.to_userdata(), recorded("pv-run.saved.json").as_bytes());
    let restored = moving.with_create_defaults().expect("addresses are all given");
    assert_eq!(restored.to_userdata(), recorded("pv-run.restored.json").as_bytes());
}

#[test]
fn documents_of_xl_go_through_unchanged() {
    let files = fs::read_dir(folder()).expect("the golden documents");
    for file in files {
        let path = file.expect("a golden document").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read(&path).expect("a golden document");
        let config = DomainConfig::from_json(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let text = text.strip_suffix(&[0]).unwrap_or(&text);
        assert_eq!(config.to_json().as_bytes(), text, "{}", path.display());
    }
}
