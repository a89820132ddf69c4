//! `xend list -l`: the configuration of domains, as JSON.

use serde_json::{Map, Value};

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::error_line::error_line;
use crate::hypervisor::xen::host::domains::ListedDomain;
use crate::toolstack::Host;
use crate::toolstack::config::json_text;
use crate::toolstack::domain::live_config;

/// Prints a list of objects, each with a domain's id and its configuration. A domain without one
/// is left out, and it is said why.
pub(super) fn print(host: &Host, domains: &[ListedDomain]) -> Result<(), Failure> {
    let mut list = Vec::new();
    for domain in domains {
        let number = domain.domid.0;
        match live_config(host, domain.domid) {
            Ok(Some(config)) => list.push(item(number, config.document().clone())),
            Ok(None) => output::warn(format!("xend: domain {number} has no configuration\n")),
            Err(error) => output::warn(format!("xend: {}\n", error_line(&error))),
        }
    }
    output::print(text(list))
}

fn item(number: u16, config: Map<String, Value>) -> Value {
    let mut item = Map::new();
    item.insert("domid".to_owned(), number.into());
    item.insert("config".to_owned(), config.into());
    item.into()
}

/// One newline is the generator's own, one the printer's.
fn text(list: Vec<Value>) -> String {
    let mut text = String::new();
    json_text::print_value(&mut text, &Value::Array(list), 0);
    text.push_str("\n\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_layout_of_libxl() {
        let config = serde_json::from_str("{\"c_info\": {}}").expect("JSON");
        assert_eq!(
            text(vec![item(3, config)]),
            "[\n    {\n        \"domid\": 3,\n        \"config\": {\n            \
             \"c_info\": {\n\n            }\n        }\n    }\n]\n\n"
        );
        assert_eq!(text(Vec::new()), "[\n\n]\n\n");
    }
}
