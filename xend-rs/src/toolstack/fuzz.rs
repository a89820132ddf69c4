//! Entry points for the fuzz targets.
//!
//! Each takes any bytes, reads them as its format, and panics if a reader breaks a promise: an
//! error is one line and points into the input, what was read is no larger than the input, and what
//! was accepted can be written and is read as the same again.

use super::config::{DomainConfig, HostContext};
use super::xlcfg::{Content, MAX_DEPTH, Settings, Value};

/// Reads `data` as an xl.cfg, and makes a configuration of it if it is one.
pub fn xlcfg(data: &[u8]) {
    let settings = match Settings::parse("fuzz", data) {
        Ok(settings) => settings,
        Err(error) => {
            check_line(&error.to_string());
            let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
            assert!(error.place.line as usize <= lines, "{error}: beyond the text");
            assert!(error.place.column as usize <= data.len() + 1, "{error}: beyond its line");
            return;
        }
    };
    let size: usize =
        settings.iter().map(|setting| setting.key.len() + size(&setting.value, 0)).sum();
    assert!(data.len() >= size, "{size} bytes from {}", data.len());
    match DomainConfig::from_xlcfg_on(&settings, &HostContext::default()) {
        Ok((config, warnings)) => {
            warnings.iter().for_each(|warning| check_line(&warning.to_string()));
            check_config(&config);
        }
        Err(error) => check_line(&error.to_string()),
    }
}

/// Reads `data` as a libxl-json document.
pub fn document(data: &[u8]) {
    match DomainConfig::from_json(data) {
        Ok(config) => check_config(&config),
        Err(error) => check_line(&error.to_string()),
    }
}

fn check_line(line: &str) {
    assert!(!line.contains('\n'), "{line:?}: more than one line");
    assert!(line.len() < 4096, "a line of {} bytes", line.len());
}

/// At least so many bytes of text are needed to write `value`.
fn size(value: &Value, depth: usize) -> usize {
    assert!(depth <= MAX_DEPTH, "deeper than allowed");
    match &value.content {
        Content::Text(text) => text.len().max(1),
        Content::List(items) => 2 + items.iter().map(|item| size(item, depth + 1)).sum::<usize>(),
    }
}

fn check_config(config: &DomainConfig) {
    let text = config.to_userdata();
    if text.len() <= super::config::MAX_DOCUMENT_BYTES {
        let again = DomainConfig::from_json(&text).expect("what was just written");
        assert_eq!(&again, config, "writing the document changed it");
        assert_eq!(again.to_userdata(), text, "writing the document again changed it");
    }
    look_at(config);
    let created = config.clone().with_create_defaults().expect("random bytes");
    let twice = created.clone().with_create_defaults().expect("random bytes");
    assert_eq!(created, twice, "creation fills in something else the second time");
    assert!(created.nics().iter().all(|nic| nic.mac.is_some()), "an interface has no address");
    look_at(&created);
}

/// Every view of a configuration.
fn look_at(config: &DomainConfig) {
    let memory = [config.memory(), config.memory_on(false)];
    assert!(memory[0].shadow_kib <= memory[1].shadow_kib, "more page tables need less memory");
    assert!(config.max_vcpus() > 0 && !config.online_vcpus().is_empty(), "no vCPU");
    assert!(!config.name().contains('/'), "a name that is a path");
    let _ = (config.kind(), config.uuid(), config.boot(), config.disks(), config.nics());
    let _ = (config.actions(), config.tsc_mode(), config.scheduler(), config.grant_limits());
    let _ = (config.hard_affinity(), config.soft_affinity(), config.pool());
    let _ = (config.immovable(), config.unsupported(), config.max_event_channels());
}
