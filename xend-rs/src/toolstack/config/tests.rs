use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A document of a PV guest with more in it.
fn document(more: Value) -> DomainConfig {
    let mut document = json!({
        "c_info": {"type": "pv", "name": "n", "uuid": "11111111-2222-3333-4444-555555555501"},
        "b_info": {"max_memkb": 65536, "sched_params": {}, "type.pv": {}, "arch_x86": {}},
    });
    merge(&mut document, more);
    DomainConfig::from_json(document.to_string().as_bytes()).expect("a sound document")
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

#[test]
fn unsound_documents() {
    let long = [&b"{"[..], &[b' '; MAX_DOCUMENT_BYTES]].concat();
    let deep = format!("{{\"x\":{}", "[".repeat(1000));
    for (text, message) in [
        (
            &b""[..],
            "domain configuration is not valid JSON: EOF while parsing a value at line 1 column 0",
        ),
        (b"{}", "domain configuration: c_info is missing"),
        (b"{\"c_info\":{}}", "domain configuration: b_info is missing"),
        (
            b"[]",
            "domain configuration is not valid JSON: invalid type: sequence, expected a map at line 1 column 0",
        ),
        (
            b"{\"c_info\":{},\"b_info\":{}}}",
            "domain configuration is not valid JSON: trailing characters at line 1 column 26",
        ),
        (
            b"{\"c_info\":{},\"b_info\":{}}\0\0",
            "domain configuration is not valid JSON: trailing characters at line 1 column 26",
        ),
        (b"{\"c_info\":[],\"b_info\":{}}", "domain configuration: c_info is missing"),
        (
            b"{\"c_info\":{\"type\":\"vm\"},\"b_info\":{}}",
            "domain configuration: c_info.type is \"vm\", not a word that libxl knows",
        ),
        (
            b"{\"c_info\":{\"uuid\":7},\"b_info\":{}}",
            "domain configuration: c_info.uuid is 7, not a UUID",
        ),
        (b"{\"c_info\":{\"name\":\"a/b\"},\"b_info\":{}}", "'a/b' cannot be the name of a domain"),
        (
            b"{\"c_info\":{\"name\":\"a\\nb\"},\"b_info\":{}}",
            "'a\\nb' cannot be the name of a domain",
        ),
        (
            b"{\"c_info\":{\"hap\":true},\"b_info\":{}}",
            "domain configuration: c_info.hap is true, not \"True\", \"False\" or \"<default>\"",
        ),
        (
            b"{\"c_info\":{},\"b_info\":{\"max_memkb\":-1}}",
            "domain configuration: b_info.max_memkb is -1, not a number of this size that is not negative",
        ),
        (
            b"{\"c_info\":{},\"b_info\":{\"max_memkb\":1.5}}",
            "domain configuration: 1.5 is not an integer of 64 bits",
        ),
        (
            b"{\"c_info\":{},\"b_info\":{\"max_vcpus\":2147483648}}",
            "domain configuration: b_info.max_vcpus is 2147483648, not a number of this size",
        ),
        (
            b"{\"c_info\":{},\"b_info\":{\"avail_vcpus\":[0,65536]}}",
            "domain configuration: b_info.avail_vcpus.1 is 65536, not a number of this size that is not negative",
        ),
        (
            b"{\"c_info\":{},\"b_info\":{\"type.pv\":{\"kernel\":{}}}}",
            "domain configuration: b_info.type.pv.kernel is an object, not a string",
        ),
        (
            b"{\"c_info\":{},\"b_info\":{},\"nics\":[{},{\"mac\":\"x\"}]}",
            "domain configuration: nics.1.mac is \"x\", not a MAC address",
        ),
        (
            b"{\"c_info\":{},\"b_info\":{},\"disks\":{}}",
            "domain configuration: disks is an object, not a list",
        ),
        (
            b"{\"c_info\":{},\"b_info\":{},\"on_crash\":\"explode\"}",
            "domain configuration: on_crash is \"explode\", not a word that libxl knows",
        ),
        (&long, "domain configuration of 1048577 bytes: at most 1048576 are accepted"),
        (
            deep.as_bytes(),
            "domain configuration is not valid JSON: recursion limit exceeded at line 1 column 132",
        ),
    ] {
        let error = DomainConfig::from_json(text).expect_err(message);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn what_nobody_knows_here_stays() {
    let text = "{\n    \"c_info\": {\n        \"new\": \"x\",\n        \"type\": \"pv\"\n    },\n    \
        \"newer\": [\n        null\n    ],\n    \"b_info\": {\n\n    }\n}\n";
    let mut config = DomainConfig::from_json(text.as_bytes()).expect("a document of the future");
    assert_eq!(config.to_json(), text);
    config.set_name("n");
    let named = text.replace("\"type\": \"pv\"\n", "\"type\": \"pv\",\n        \"name\": \"n\"\n");
    assert_eq!(config.to_json(), named);
}

#[test]
fn a_new_key_goes_where_libxl_has_it() {
    let mut config = document(json!({"c_info": {"domid": 7}}));
    config.set_online_vcpus(&[0, 2]);
    config.set_memory(131_072, 65_536);
    let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
    let expected =
        ["avail_vcpus", "max_memkb", "target_memkb", "sched_params", "type.pv", "arch_x86"];
    assert_eq!(keys(config.build_info()), expected);
    assert_eq!(config.online_vcpus(), [0, 2]);
    config.remove_domid();
    assert_eq!(keys(config.create_info()), ["type", "name", "uuid"]);
}

#[test]
fn what_libxl_takes_for_granted() {
    let config = document(json!({}));
    assert_eq!((config.kind(), config.name()), (GuestKind::Pv, "n"));
    assert_eq!(config.uuid().to_string(), "11111111-2222-3333-4444-555555555501");
    assert_eq!((config.max_vcpus(), config.online_vcpus()), (1, vec![0]));
    let memory = Memory { max_kib: 65_536, target_kib: 65_536, shadow_kib: 1280, video_kib: 0 };
    assert_eq!(config.memory(), memory);
    assert_eq!(config.actions().crash, Action::Destroy);
    assert_eq!(config.tsc_mode(), TscMode::Default);
    assert_eq!((config.max_event_channels(), config.timer_mode()), (1023, 1));
    assert!(config.runs_hotplug_scripts() && !config.is_migration_forbidden());
    assert_eq!(
        config.boot(),
        Boot { kernel: None, ramdisk: None, cmdline: None, bootloader: None }
    );
}

/// 2816 is what xl 4.17 stored for the PV guest in `tests/golden/config/pv-run.ballooned.json`.
#[test]
fn memory_for_page_tables() {
    let memory = |kind: &str, vcpus: u32, mib: u64, more: Value| {
        let mut config = json!({
            "c_info": {"type": kind}, "b_info": {"max_vcpus": vcpus, "max_memkb": mib * 1024},
        });
        merge(&mut config, more);
        let config = document(config);
        [config.memory_on(true).shadow_kib, config.memory_on(false).shadow_kib]
    };
    assert_eq!(memory("pv", 2, 192, json!({})), [2816, 2816]);
    assert_eq!(memory("pvh", 2, 192, json!({})), [2816, 3584]);
    assert_eq!(memory("pvh", 2, 192, json!({"c_info": {"hap": "False"}})), [3584, 3584]);
    assert_eq!(memory("pvh", 2, 192, json!({"b_info": {"shadow_memkb": 5}})), [5, 5]);
}

#[test]
fn boot_of_old_documents() {
    let old = json!({"kernel": "/k", "bootloader": "pygrub", "bootloader_args": ["-q"]});
    let config = document(json!({"b_info": {"ramdisk": "", "type.pv": old}}));
    let bootloader = Bootloader { program: "pygrub".into(), arguments: vec!["-q".into()] };
    let kernel = Some("/k".into());
    let expected = Boot { kernel, ramdisk: None, cmdline: None, bootloader: Some(bootloader) };
    assert_eq!(config.boot(), expected);
}

#[test]
fn devices() {
    let config = document(json!({
        "disks": [
            {"pdev_path": "/a", "vdev": "xvda", "backend": "phy", "format": "raw", "readwrite": 1},
            {"pdev_path": "", "vdev": "xvdb", "format": "empty", "removable": 1, "is_cdrom": 1,
             "backend_domid": 3, "discard_enable": "False", "direct_io_safe": true},
        ],
        "nics": [
            {"devid": 4, "mac": "00:16:3e:01:02:03", "bridge": "br0", "nictype": "vif", "mtu": 0},
            {"rate_bytes_per_interval": 5, "rate_interval_usecs": 6, "trusted": "False"},
        ],
    }));
    let disks = config.disks();
    assert_eq!(
        (disks[0].target.as_deref(), disks[0].backend),
        (Some("/a"), Some(DiskBackend::Phy))
    );
    assert!(disks[0].writable && !disks[0].cdrom && disks[0].discard.is_none());
    assert_eq!((disks[1].target.as_deref(), disks[1].format), (None, DiskFormat::Empty));
    assert_eq!((disks[1].backend_domid, disks[1].discard), (3, Some(false)));
    assert!(disks[1].cdrom && disks[1].removable && disks[1].direct_io_safe && !disks[1].writable);
    let nics = config.nics();
    assert_eq!((nics[0].devid, nics[0].kind, nics[0].mtu_bytes), (4, Some(NicType::Vif), None));
    assert_eq!(nics[0].mac, Some(MacAddress([0, 0x16, 0x3e, 1, 2, 3])));
    let rate = NicRate { bytes_per_interval: 5, interval_us: 6 };
    assert_eq!((nics[1].devid, nics[1].rate, nics[1].trusted), (1, Some(rate), Some(false)));
}

#[test]
fn devices_that_are_gone() {
    let mut config = document(json!({
        "disks": [{"vdev": "xvda"}, {"vdev": "xvdb"}], "nics": [{}, {"devid": 5}],
    }));
    config.retain_disks(|vdev| vdev == "xvdb");
    config.retain_nics(|devid| devid == 5);
    assert_eq!(config.document()["disks"], json!([{"vdev": "xvdb"}]));
    assert_eq!(config.document()["nics"], json!([{"devid": 5}]));
    config.retain_disks(|_| false);
    assert_eq!(config.document().get("disks"), None);
}

#[test]
fn creation_numbers_interfaces_as_libxl_does() {
    let nics = json!([{"devid": -1}, {"devid": 7}, {"devid": -1}, {"mac": "00:16:3e:00:00:01"}]);
    let config = document(json!({"nics": nics})).with_create_defaults().expect("random bytes");
    let devids: Vec<_> = config.nics().iter().map(|nic| nic.devid).collect();
    assert_eq!(devids, [0, 7, 8, 9]);
    assert_eq!(config.nics()[3].mac, Some(MacAddress([0, 0x16, 0x3e, 0, 0, 1])));
}

#[test]
fn what_keeps_a_guest_where_it_is() {
    for (more, immovable, unsupported) in [
        (json!({}), None, None),
        (json!({"b_info": {"disable_migrate": "True"}}), Some("nomigrate is set"), None),
        (json!({"pcidevs": [{}, {}]}), Some("PCI passthrough (2)"), Some("PCI passthrough (2)")),
        (json!({"pcidevs": []}), None, None),
        (json!({"vfbs": [{}]}), None, Some("virtual frame buffer (1)")),
        (
            json!({"b_info": {"vnuma_nodes": [{}]}}),
            Some("virtual NUMA nodes (1)"),
            Some("virtual NUMA nodes (1)"),
        ),
        (
            json!({"b_info": {"irqs": [5]}}),
            Some("interrupts of the host (1)"),
            Some("interrupts of the host (1)"),
        ),
        (
            json!({"b_info": {"nested_hvm": "True"}}),
            Some("nested virtualisation"),
            Some("nested virtualisation"),
        ),
        (json!({"b_info": {"altp2m": "mixed"}}), Some("alternate p2m"), Some("alternate p2m")),
        (
            json!({"c_info": {"type": "pvh"}, "b_info": {"type.pvh": {"pvshim": "True"}}}),
            Some("PV shim"),
            Some("PV shim"),
        ),
        (json!({"b_info": {"cpuid": [{"leaf": 1}]}}), None, Some("CPUID policy (1)")),
        (json!({"b_info": {"vpmu": "True"}}), None, Some("virtual performance counters")),
        (json!({"c_info": {"ssid_label": "x"}}), None, Some("XSM label")),
    ] {
        let config = document(more.clone());
        assert_eq!(config.immovable(), Vec::from_iter(immovable), "{more}");
        assert_eq!(config.unsupported(), Vec::from_iter(unsupported), "{more}");
    }
}

#[test]
fn uuids_and_addresses() {
    for bad in
        ["", "123", "11111111222233334444555555555501", "11111111-2222-3333-4444-55555555550g"]
    {
        assert_eq!(bad.parse::<Uuid>(), Err(ConfigError::Uuid { text: bad.to_owned() }));
    }
    let upper: Uuid = "AAAAAAAA-bbbb-CCCC-dddd-EEEEEEEEEEEE".parse().expect("a UUID");
    assert_eq!(upper.to_string(), "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
    for bad in ["", "00:16:3e:00:00", "00:16:3e:00:00:00:00", "0:0:0:0:0:+1", "00-16-3e-00-00-00"] {
        assert_eq!(bad.parse::<MacAddress>(), Err(ConfigError::Mac { text: bad.to_owned() }));
    }
    let random = Uuid::random().expect("random bytes").to_string();
    assert_eq!((random.as_bytes()[14], random.parse::<Uuid>().is_ok()), (b'4', true));
}

#[test]
fn xl_conf() {
    let text = "autoballoon = 'off'\nclaim_mode = 0\nvif.default.bridge = 'br1'\nvifscript = 'x'\n\
        max_grant_frames = 64\n";
    let settings = crate::toolstack::xlcfg::Settings::parse("xl.conf", text.as_bytes()).unwrap();
    let defaults = Defaults::from_xl_conf(&settings).expect("sound defaults");
    let nic = NicDefaults {
        script: Some("x".into()),
        bridge: Some("br1".into()),
        ..NicDefaults::default()
    };
    let expected =
        Defaults { claim_mode: false, nic, max_grant_frames: Some(64), ..Defaults::default() };
    assert_eq!(defaults, expected);
}

#[test]
fn json_as_yajl_prints_it() {
    let Value::Object(map) =
        json!({"a": [], "b": {}, "c": [1, [true, null]], "d": "/\u{1f}\u{7f}ü\"\\\n\t"})
    else {
        unreachable!("an object");
    };
    let expected = "{\n    \"a\": [\n\n    ],\n    \"b\": {\n\n    },\n    \"c\": [\n        1,\n        \
        [\n            true,\n            null\n        ]\n    ],\n    \
        \"d\": \"/\\u001F\u{7f}ü\\\"\\\\\\n\\t\"\n}\n";
    assert_eq!(json_text::print(&map), expected);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |item| {
        prop_oneof![
            prop::collection::vec(item.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((any::<String>(), item), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn printed_json_reads_as_the_same(value in any_json()) {
        let mut text = String::new();
        json_text::print_value(&mut text, &value, 0);
        prop_assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
    }
}
