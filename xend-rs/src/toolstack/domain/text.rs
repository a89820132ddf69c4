//! The text of an xl.cfg, as this host makes a configuration of it.
//!
//! Whoever has such a text reads it here, whether a guest is made of it now or when it is started anew:
//! the defaults of the host's administrator hold for both.

use std::path::Path;

use super::Result;
use crate::toolstack::Host;
use crate::toolstack::config::{Defaults, DomainConfig, HostContext, HostCpus, Warning, XL_CONF};

/// Makes a configuration of a text. `name` is what the text is called in errors and warnings.
///
/// # Errors
/// What is wrong with it, or with the host's `xl.conf`, and where.
pub fn config_from_text(
    host: &Host,
    name: &str,
    text: &[u8],
) -> Result<(DomainConfig, Vec<Warning>)> {
    read(name, text, host.xen.max_cpus()?, Path::new(XL_CONF))
}

fn read(
    name: &str,
    text: &[u8],
    cpus: u32,
    xl_conf: &Path,
) -> Result<(DomainConfig, Vec<Warning>)> {
    let cpus = Some(HostCpus { count: cpus, nodes: Vec::new() });
    let context = HostContext { cpus, defaults: Defaults::read(xl_conf)? };
    Ok(DomainConfig::from_text(name, text, &context)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TEXT: &[u8] = b"name = 'g'\nkernel = 'k'\nvif = ['', 'bridge=own']\ncpus = 'all'\n";

    fn bridges(config: &DomainConfig) -> Vec<Option<String>> {
        config.nics().into_iter().map(|nic| nic.bridge).collect()
    }

    #[test]
    fn what_a_text_leaves_open_is_as_the_hosts_administrator_says() {
        let folder = tempfile::tempdir().unwrap();
        let xl_conf = folder.path().join("xl.conf");
        let own = Some("own".to_owned());
        let (config, _) = read("f", TEXT, 4, &xl_conf).unwrap();
        assert_eq!(bridges(&config), [None, own.clone()], "there is no xl.conf");
        fs::write(&xl_conf, "vif.default.bridge = 'br7'\nmax_grant_frames = 12\n").unwrap();
        let (config, _) = read("f", TEXT, 4, &xl_conf).unwrap();
        assert_eq!(bridges(&config), [Some("br7".to_owned()), own]);
        assert_eq!(config.grant_limits().grant_frames, Some(12));
    }

    #[test]
    fn an_error_names_the_text_that_it_is_in() {
        let folder = tempfile::tempdir().unwrap();
        let xl_conf = folder.path().join("xl.conf");
        let error = read("<updated>", b"name = [\n", 4, &xl_conf).unwrap_err().to_string();
        assert!(error.starts_with("<updated>:"), "{error}");
        fs::write(&xl_conf, "max_grant_frames = -1\n").unwrap();
        let error = read("<updated>", TEXT, 4, &xl_conf).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:1:", xl_conf.display())), "{error}");
    }
}
