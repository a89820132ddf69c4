use serde_json::{Value, json};

use super::super::{DomainConfig, HostContext, HostCpus, NicDefaults, Warning};
use super::{cpus, disk, nic, rate};
use crate::toolstack::xlcfg::{Place, Settings};

const KERNEL: &str = "name = 'n'\nkernel = 'k'\n";

fn made(source: &str) -> Result<(DomainConfig, Vec<String>), String> {
    let settings = Settings::parse("f", source.as_bytes()).expect("sound syntax");
    let host = HostContext { cpus: Some(two_nodes()), ..HostContext::default() };
    let (config, warnings) =
        DomainConfig::from_xlcfg_on(&settings, &host).map_err(|error| error.to_string())?;
    Ok((config, warnings.iter().map(Warning::to_string).collect()))
}

fn two_nodes() -> HostCpus {
    HostCpus { count: 4, nodes: vec![vec![0, 1], vec![2, 3]] }
}

#[test]
fn settings_that_make_no_sense() {
    for (source, message) in [
        ("type = 'foo'", "f:3:8: 'type' is 'foo', not pv, pvh or hvm"),
        ("type = ''", "f:3:8: 'type' is '', not pv, pvh or hvm"),
        ("builder = 'linux'", "f:3:11: 'builder' is 'linux', not generic or hvm"),
        ("type = 'pvh'; builder = 'hvm'", "f:3:25: 'builder' and 'type' contradict each other"),
        ("name = ''", "f:3:8: 'name' cannot be the name of a domain"),
        ("name = '../x'", "f:3:8: 'name' cannot be the name of a domain"),
        ("uuid = '123'", "f:3:8: 'uuid': '123' is not a UUID"),
        ("vcpus = 'two'", "f:3:9: 'vcpus' is not a number: \"two\""),
        ("vcpus = 0", "f:3:9: 'vcpus' is 0, not 1 to 1024"),
        ("vcpus = 3\nmaxvcpus = 2", "f:4:12: 'maxvcpus' is 2, less than 'vcpus'"),
        ("memory = '-5'", "f:3:10: 'memory' is -5, not 0 to 4294967296"),
        ("memory = []", "f:3:10: 'memory' is a list but should be a single value"),
        ("memory = 128\nmaxmem = 64", "f:4:10: 'maxmem' is less than 'memory'"),
        ("on_crash = 'foo'", "f:3:12: unknown on_crash action 'foo'"),
        ("on_crash = 'restart_rename'", "f:3:12: unknown on_crash action 'restart_rename'"),
        (
            "tsc_mode = 'foo'",
            "f:3:12: 'tsc_mode' is 'foo', not default, always_emulate, native, native_paravirt",
        ),
        ("tsc_mode = 4", "f:3:12: 'tsc_mode' is 4, not 0 to 3"),
        ("timer_mode = 1", "f:3:14: 'timer_mode' is not for PV guests"),
        ("firmware = 'pvgrub64'", "f:3:12: both 'kernel' and 'firmware' are given"),
        ("max_grant_frames = 'x'", "f:3:20: 'max_grant_frames' is not a number: \"x\""),
        ("max_grant_version = '-1'", "f:3:21: 'max_grant_version' is -1, not 0 to 2147483647"),
        (
            "device_model_version = 'qemu'",
            "f:3:24: 'device_model_version' is 'qemu', not qemu-xen or qemu-xen-traditional",
        ),
        (
            "passthrough = 'on'",
            "f:3:15: 'passthrough' is 'on', not default, disabled, enabled, sync_pt, share_pt",
        ),
        ("vcpus = 1\ncpus = 'a'", "f:4:8: 'cpus': 'a' is neither a processor nor a range of them"),
        ("vcpus = 1\ncpus = '0,^0'", "f:4:8: 'cpus': no processor is left in '0,^0'"),
        ("vcpus = 1\ncpus = '^all'", "f:4:8: 'cpus': '^all': ^ and all do not go together"),
        ("vcpus = 1\ncpus = 'nodes:2'", "f:4:8: 'cpus': 'nodes:2': the host has no such node"),
        ("disk = 'phy:/dev/a,xvda,w'", "f:3:8: 'disk' is a single value but should be a list"),
        ("disk = [\n 'a,b' ]", "f:4:2: disk 'a,b': unknown value for format: 'b'"),
        ("disk = [ [ 'a' ] ]", "f:3:10: an item of 'disk' is a list but should be a string"),
        ("vif = [ 'mac=1' ]", "f:3:9: vif 'mac=1': mac: '1' is not a MAC address"),
        (
            "pci = [ '01:00.0' ]",
            "f:3:7: 'pci' is not supported: xend has no PCI passthrough; stock xl may have",
        ),
        ("vnc = 1", "f:3:7: 'vnc' is not supported: xend has no frame buffer; stock xl may have"),
        (
            "cpuid = 'host,tm=0'",
            "f:3:9: 'cpuid' is not supported: xend has no CPUID policies; stock xl may have",
        ),
        (
            "passthrough = 'enabled'",
            "f:3:15: 'passthrough' is not supported: xend has no PCI passthrough; stock xl may have",
        ),
        (
            "seclabel = 'system_u:system_r:domU_t'",
            "f:3:12: 'seclabel' is not supported: xend has no XSM labels; stock xl may have",
        ),
    ] {
        let error = made(&format!("{KERNEL}{source}")).expect_err(source);
        assert_eq!(error, message, "{source:?}");
    }
    let affinity = format!("{KERNEL}vcpus = 1024\ncpus = '0-1023'");
    let of_any_size = HostContext::default();
    let error = DomainConfig::from_text("f", affinity.as_bytes(), &of_any_size);
    let error = error.expect_err("too long").to_string();
    assert!(error.ends_with("at most 1048576 are accepted"), "{error}");
    assert_eq!(made("kernel = 'k'").expect_err("no name"), "no domain name is given (name=)");
    let error = made("name = 'n'").expect_err("no kernel");
    assert_eq!(error, "neither kernel nor bootloader is given");
}

#[test]
fn settings_that_do_nothing() {
    for (source, warning) in [
        ("\nmemroy = 64", "f:4: unknown key 'memroy'"),
        ("boot = 'cd'", "f:3: 'boot' has no effect: it is for HVM guests"),
        ("localtime = 1", "f:3: 'localtime' is kept for stock xl: xend does not act on it"),
        ("pvshim = 1", "f:3: 'pvshim' has no effect: it is for PVH guests"),
        ("pci_permissive = 1", "f:3: 'pci_permissive' has no effect: there is no PCI passthrough"),
        ("cpus = '0'", "f:3: 'cpus' has no effect without 'vcpus' or 'maxvcpus'"),
        ("cmdline = 'a'; root = 'b'", "f:3: 'root' has no effect beside 'cmdline'"),
        ("tsc_mode = 2", "f:3: 'tsc_mode' as a number is deprecated: write \"native\""),
        (
            "bootloader_args = 'a b'",
            "f:3: 'bootloader_args' as one string is deprecated: write a list",
        ),
        ("vif = [ 'accel=1' ]", "f:3: vif: accel has no effect"),
        (
            "type = 'hvm'; vga = 'qxl'",
            "f:3: 'vga' is left out: xend knows HVM guests only in outline",
        ),
    ] {
        let (_, warnings) = made(&format!("{KERNEL}{source}")).expect(source);
        assert_eq!(warnings, [warning], "{source:?}");
    }
    // What is switched off, or empty, needs no word.
    let off = "pci = []\nvfb = []\nvnc = 0\nvpmu = 0\ncpuid = 'host'\nseclabel = ''\nnestedhvm = 0\n\
        altp2m = 'disabled'\nvtpm = []\nlocaltime = 0\ndevice_model_args = []";
    let (config, warnings) = made(&format!("{KERNEL}{off}")).expect("nothing unsupported");
    assert_eq!(warnings, [""; 0]);
    assert_eq!(config.unsupported(), [""; 0]);
}

#[test]
fn warnings_come_in_the_order_of_the_file() {
    let (_, warnings) = made("cpus = '0'\nname = 'n'; kernel = 'k'\nfoo = 1\nbar = 1\nfoo = 2")
        .expect("only warnings");
    let expected = [
        "f:1: 'cpus' has no effect without 'vcpus' or 'maxvcpus'",
        "f:4: unknown key 'bar'",
        "f:5: unknown key 'foo'",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn what_a_guest_boots() {
    for (source, cmdline) in [
        ("", None),
        ("root = '/dev/xvda'", Some("root=/dev/xvda")),
        ("extra = 'quiet'", Some("quiet")),
        ("root = '/dev/xvda ro'\nextra = 'quiet'", Some("root=/dev/xvda ro quiet")),
        ("cmdline = ''\nextra = 'quiet'", Some("")),
    ] {
        let (config, _) = made(&format!("{KERNEL}{source}")).expect(source);
        assert_eq!(config.boot().cmdline.as_deref(), cmdline, "{source:?}");
    }
    let (config, _) = made("name = 'n'; firmware = 'pvgrub32'").expect("a kernel of Xen's");
    let kernel = config.boot().kernel;
    assert_eq!(kernel.as_deref(), Some("/usr/lib/xen-4.17/boot/pvgrub32.bin"));
}

#[test]
fn what_is_not_said_is_random() {
    let made = || made(&format!("{KERNEL}vif = [ '' ]")).expect("sound").0;
    let (a, b) = (made(), made());
    assert_ne!(a.uuid(), b.uuid());
    assert_eq!(a.nics()[0].mac, None);
    let mac = |config: DomainConfig| config.with_create_defaults().expect("random").nics()[0].mac;
    let (a, b) = (mac(a).expect("an address"), mac(b).expect("an address"));
    assert_ne!(a, b);
    assert!(a.to_string().starts_with("00:16:3e:"), "{a}");
}

#[test]
fn sound_disks() {
    for (specification, expected) in [
        (
            "phy:/dev/vda,xvda,w",
            json!({"pdev_path": "/dev/vda", "vdev": "xvda", "format": "raw", "readwrite": 1}),
        ),
        (
            "/a,raw,xvda,,",
            json!({"pdev_path": "/a", "vdev": "xvda", "format": "raw", "readwrite": 1}),
        ),
        ("  /a ,raw,xvda:disk,r", json!({"pdev_path": "/a ", "vdev": "xvda", "format": "raw"})),
        (
            "vdev=xvda,untrusted,target=/a,b=c:d,",
            json!({"pdev_path": "/a,b=c:d", "vdev": "xvda", "format": "raw", "readwrite": 1, "trusted": "False"}),
        ),
        (
            "tap:aio:/a,xvda,w,discard",
            json!({"pdev_path": "/a", "vdev": "xvda", "format": "raw", "readwrite": 1, "discard_enable": "True"}),
        ),
        (
            "format=raw,/a,xvda,format=raw",
            json!({"pdev_path": "/a", "vdev": "xvda", "format": "raw", "readwrite": 1}),
        ),
        (
            "cdrom,vdev=xvda",
            json!({"vdev": "xvda", "format": "empty", "removable": 1, "is_cdrom": 1}),
        ),
    ] {
        let disk = Value::from(disk::parse(specification).expect(specification));
        assert_eq!(disk, expected, "{specification}");
    }
}

#[test]
fn unsound_disks() {
    for (specification, message) in [
        ("", "no vdev specified"),
        ("/a,raw", "no vdev specified"),
        ("vdev=xvda", "no target specified (and device not removable)"),
        ("phy:/a,xvda,x", "unknown value for access: 'x'"),
        ("/a,raw,xvda, w ", "unknown value for access: 'w '"),
        ("foo:/a,xvda,w", "unknown prefix 'foo:'"),
        ("format=foo,vdev=xvda,target=/a", "unknown value for format: 'foo'"),
        ("/a,xvda,w", "unknown value for format: 'xvda'"),
        ("/a,raw,xvda,w,more", "too many positional parameters: 'more'"),
        ("bogus=12,vdev=xvda,target=/a", "unknown parameter 'bogus=12'"),
        ("/a,raw,xvda,w,target=/b", "target given twice: '/b'"),
        ("/a,raw,xvda:floppy,w", "unknown value for devtype: 'floppy'"),
        ("devtype=tape,vdev=xvda", "unknown value for devtype: 'tape'"),
        ("backendtype=qemu,vdev=xvda", "unknown value for backendtype: 'qemu'"),
        ("backendtype=phy,backendtype=tap", "backendtype given twice: 'phy' and 'tap'"),
        ("vdev=xvda,vdev=xvdb,target=/a", "vdev given twice: 'xvdb'"),
        ("colo-port=1,vdev=xvda", "colo-port: COLO is not supported"),
        ("x:/a=b,raw,xvda", "unknown prefix 'x:'"),
    ] {
        assert_eq!(disk::parse(specification), Err(message.to_owned()), "{specification:?}");
    }
}

fn parsed_nic(specification: &str, defaults: &NicDefaults) -> Result<Value, String> {
    let place = Place { source: "f".into(), line: 1, column: 1 };
    nic::parse(specification, 3, defaults, &place, &mut Vec::new()).map(Value::from)
}

#[test]
fn sound_nics() {
    let none = NicDefaults::default();
    for (specification, expected) in [
        ("", json!({"devid": 3})),
        (" , ,", json!({"devid": 3})),
        ("mac=0:16:3E:1:2:ff", json!({"devid": 3, "mac": "00:16:3e:01:02:ff"})),
        (
            "bridge=a,  bridge=b,ip=10.0.0.1 fe80::1",
            json!({"devid": 3, "bridge": "b", "ip": "10.0.0.1 fe80::1"}),
        ),
        (
            "netdev=eth0,type=ioemu,devid=7",
            json!({"devid": 7, "gatewaydev": "eth0", "nictype": "vif_ioemu"}),
        ),
        (
            "rate=8Kb/s@2s,trusted",
            json!({"devid": 3, "rate_interval_usecs": 2_000_000, "rate_bytes_per_interval": 2000, "trusted": "True"}),
        ),
    ] {
        assert_eq!(parsed_nic(specification, &none), Ok(expected), "{specification:?}");
    }
    let defaults = NicDefaults { bridge: Some("br1".into()), script: Some("vif-x".into()), ..none };
    let expected = json!({"devid": 3, "script": "vif-x", "bridge": "br2"});
    assert_eq!(parsed_nic("bridge=br2", &defaults), Ok(expected));
}

#[test]
fn unsound_nics() {
    for (specification, message) in [
        ("mac=00:16:3e:00", "mac: '00:16:3e:00' is not a MAC address"),
        ("mac=00:16:3e:00:00:100", "mac: '00:16:3e:00:00:100' is not a MAC address"),
        ("foo=bar", "unknown parameter 'foo=bar'"),
        ("bridge", "unknown parameter 'bridge'"),
        ("type=foo", "unknown value for type: 'foo' (vif or ioemu)"),
        ("mtu=abc", "mtu: 'abc' is not a number up to 65535"),
        ("mtu=70000", "mtu: '70000' is not a number up to 65535"),
        ("devid=-1", "devid: '-1' is not a number up to 2147483647"),
        ("rate=fast", "rate: 'fast' is not like 10Mb/s"),
        ("colo_checkpoint_host=a", "colo_checkpoint_host: COLO is not supported"),
    ] {
        let nic = parsed_nic(specification, &NicDefaults::default());
        assert_eq!(nic, Err(message.to_owned()), "{specification:?}");
    }
}

#[test]
fn rates() {
    for (text, expected) in [
        ("10Mb/s", Some((62_500, 50_000))),
        ("1GB/s", Some((50_000_000, 50_000))),
        ("100B/s@1s", Some((100, 1_000_000))),
        ("100B/s@1", Some((100, 1_000_000))),
        ("010KB/s@20ms", Some((160, 20_000))),
        ("1MB/s@500us", Some((500, 500))),
        ("4294967295KB/s", Some((214_748_364_750, 50_000))),
        ("4294967295GB/s", None),
        ("4294967296B/s", None),
        ("0B/s", None),
        ("08B/s", None),
        ("10M/s", None),
        ("10TB/s", None),
        ("10MB", None),
        ("", None),
        ("@1s", None),
        ("1MB/s@", None),
        ("1MB/s@x", None),
        ("1MB/s@1ns", None),
        ("1MB/s@4295s", None),
    ] {
        let rate = rate::parse(text).ok().map(|rate| (rate.bytes_per_interval, rate.interval_us));
        assert_eq!(rate, expected, "{text:?}");
    }
}

#[test]
fn sets_of_processors() {
    let host = two_nodes();
    for (text, expected) in [
        ("0", Some(vec![0])),
        ("0-2,^1,,3", Some(vec![0, 2, 3])),
        ("^0,0", Some(vec![0])),
        ("all", Some((0..8).collect())),
        ("all,^2-6", Some(vec![0, 1, 7])),
        ("nodes:1", Some(vec![2, 3])),
        ("node:0-1,^node:0", Some(vec![2, 3])),
        ("nodes:0-1,^nodes:0", Some(vec![2, 3])),
        ("7-1000,4294967295", Some(vec![7])),
        ("nodes:all", Some((0..8).collect())),
        ("nodes:0-4000000000", None),
        ("2-1", None),
        ("-1", None),
        ("1-", None),
        ("+1", None),
        ("0 ,1", None),
        ("4294967296", None),
    ] {
        let set = cpus::parse(text, Some(&host)).ok().map(|set| set.into_iter().collect());
        assert_eq!(set, expected, "{text:?}");
    }
    assert_eq!(cpus::parse("3", None).map(|set| set.len()), Ok(1));
    assert_eq!(
        cpus::parse("all", None),
        Err("'all' needs the host's processors, which are not known here".to_owned())
    );
}
