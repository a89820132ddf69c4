//! The frames, byte by byte.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::ParseIntError;
use std::str::FromStr;

const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_RARP: u16 = 0x8035;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// The shortest frame, without its checksum, which the network card adds.
const MIN_FRAME_BYTES: usize = 60;

const ARP_REQUEST: u16 = 1;
const RARP_REQUEST: u16 = 3;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Replace what a neighbour has in its cache; neither a router nor an answer.
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;

/// A MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Not six pairs of hexadecimal digits with colons between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no MAC address")]
pub struct ParseMacError(String);

impl FromStr for Mac {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let octet = |part: &str| -> Result<u8, ParseIntError> { u8::from_str_radix(part, 16) };
        let octets: Result<Vec<u8>, _> = text.split(':').map(octet).collect();
        octets
            .ok()
            .and_then(|octets| octets.try_into().ok())
            .map(Self)
            .ok_or_else(|| ParseMacError(text.to_owned()))
    }
}

/// The link-local address that an interface makes of its MAC address (EUI-64).
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    // The bit that says "given by an administrator" is the other way round there.
    let identifier = [a ^ 0x02, b, c, 0xff, 0xfe, d, e, f];
    Ipv6Addr::from((0xfe80 << 112) | u128::from(u64::from_be_bytes(identifier)))
}

/// A RARP request for the sender's own address: for switches, which look no further than the MAC
/// address it comes from. It needs no knowledge of the guest's addresses.
pub(super) fn rarp(mac: Mac) -> Vec<u8> {
    arp_like(ETHERTYPE_RARP, RARP_REQUEST, mac, Ipv4Addr::UNSPECIFIED, mac)
}

/// An ARP announcement (RFC 5227): a request for the address by the one that has it.
pub(super) fn arp_announcement(mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    arp_like(ETHERTYPE_ARP, ARP_REQUEST, mac, ip, Mac([0; 6]))
}

/// RARP and ARP have the same form. Sender's and target's protocol address are the same in both.
fn arp_like(ethertype: u16, operation: u16, mac: Mac, ip: Ipv4Addr, target: Mac) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ethertype);
    // Ethernet and IPv4, with the lengths of their addresses.
    frame.extend([0x00, 0x01, 0x08, 0x00, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(mac.0);
    frame.extend(ip.octets());
    frame.extend(target.0);
    frame.extend(ip.octets());
    frame.resize(MIN_FRAME_BYTES, 0);
    frame
}

/// An unsolicited neighbour advertisement (RFC 4861, 7.2.6) to all nodes of the link.
pub(super) fn neighbour_advertisement(mac: Mac, ip: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend(ip.octets());
    // The option's length is in units of eight bytes.
    message.extend([TARGET_LINK_LAYER_ADDRESS, 1]);
    message.extend(mac.0);
    let checksum = icmpv6_checksum(ip, ALL_NODES, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());

    let length = message.len() as u16;
    let mut frame = ethernet(ALL_NODES_MAC, mac, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    // A hop limit of 255 shows that no router has passed it on.
    frame.extend([ICMPV6, 255]);
    frame.extend(ip.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

fn ethernet(destination: [u8; 6], source: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(96);
    frame.extend(destination);
    frame.extend(source.0);
    frame.extend(ethertype.to_be_bytes());
    frame
}

/// The internet checksum over the pseudo header (RFC 8200, 8.1) and the message, whose own checksum
/// field is zero.
fn icmpv6_checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let mut covered = Vec::with_capacity(40 + message.len());
    covered.extend(source.octets());
    covered.extend(destination.octets());
    covered.extend((message.len() as u32).to_be_bytes());
    covered.extend([0, 0, 0, ICMPV6]);
    covered.extend(message);
    let mut sum = 0u32;
    for pair in covered.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x00, 0x16, 0x3e, 0x77, 0x00, 0x65]);

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let text = String::from_utf8(digits).expect("digits");
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits"))
            .collect()
    }

    #[test]
    fn rarp_is_byte_for_byte_what_qemu_sends_after_a_migration() {
        let expected = bytes(
            "ffffffffffff 00163e770065 8035 0001 0800 06 04 0003 \
             00163e770065 00000000 00163e770065 00000000 \
             000000000000000000000000000000000000",
        );
        assert_eq!(expected.len(), 60);
        assert_eq!(rarp(MAC), expected);
    }

    #[test]
    fn arp_announces_the_address_for_itself() {
        let expected = bytes(
            "ffffffffffff 00163e770065 0806 0001 0800 06 04 0001 \
             00163e770065 0a4d0065 000000000000 0a4d0065 \
             000000000000000000000000000000000000",
        );
        assert_eq!(arp_announcement(MAC, Ipv4Addr::new(10, 77, 0, 101)), expected);
    }

    #[test]
    fn a_neighbour_advertisement_overrides_and_has_its_checksum() {
        let ip = link_local(MAC);
        // Worked out by hand: the words of both addresses (fe80+0216+3eff+fe77+0065 and ff02+0001),
        // length 0x20, next header 0x3a, and of the message 8800+2000, the target as above,
        // 0201+0016+3e77+0065.
        let words: [u32; 18] = [
            0xfe80, 0x0216, 0x3eff, 0xfe77, 0x0065, 0xff02, 0x0001, 0x0020, 0x003a, 0x8800, 0x2000,
            0xfe80, 0x0216, 0x3eff, 0xfe77, 0x0065, 0x0201, 0x0016,
        ];
        let sum: u32 = words.iter().sum::<u32>() + 0x3e77 + 0x0065;
        let folded = (sum & 0xffff) + (sum >> 16);
        assert!(folded <= 0xffff, "{folded:#x}");
        let checksum = !(folded as u16);
        let expected = [
            bytes("333300000001 00163e770065 86dd 60000000 0020 3a ff"),
            bytes("fe80000000000000 02163efffe770065 ff020000000000000000000000000001 88 00"),
            checksum.to_be_bytes().to_vec(),
            bytes("20000000 fe80000000000000 02163efffe770065 02 01 00163e770065"),
        ]
        .concat();
        assert_eq!(expected.len(), 86);
        assert_eq!(neighbour_advertisement(MAC, ip), expected);
    }

    #[test]
    fn a_checksum_of_a_whole_message_comes_out_as_zero() {
        for text in ["fe80::216:3eff:fe77:65", "2001:db8::ffff:1", "fd00::1"] {
            let ip: Ipv6Addr = text.parse().expect("an address");
            let frame = neighbour_advertisement(MAC, ip);
            assert_eq!(icmpv6_checksum(ip, ALL_NODES, &frame[54..]), 0, "{text}");
        }
    }

    #[test]
    fn the_link_local_address_has_the_universal_bit_turned() {
        assert_eq!(link_local(MAC).to_string(), "fe80::216:3eff:fe77:65");
        assert_eq!(link_local(Mac([2, 0, 0, 0, 0, 1])).to_string(), "fe80::ff:fe00:1");
    }

    #[test]
    fn mac_addresses_are_read_and_written() {
        let text = "00:16:3e:77:00:65";
        assert_eq!(text.parse(), Ok(MAC));
        assert_eq!(MAC.to_string(), text);
        for wrong in ["", "00:16:3e:77:00", "00:16:3e:77:00:65:00", "00:16:3e:77:00:6g"] {
            let error = wrong.parse::<Mac>().expect_err("not one").to_string();
            assert_eq!(error, format!("`{wrong}` is no MAC address"));
        }
    }
}
