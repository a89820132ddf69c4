//! Round trips, negotiation, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::stream::libxc::{CpuidLeaf, MsrEntry};
use crate::stream::{Source, StreamErrorKind};

fn text() -> impl Strategy<Value = String> {
    "[ -~é€]{0,40}"
}

prop_compose! {
    fn needs()(
        words in any::<[u64; 3]>(),
        halves in any::<[u32; 4]>(),
        leaves in prop::collection::vec(any::<[u32; 6]>(), 0..5),
        msrs in prop::collection::vec(any::<(u32, u64)>(), 0..3),
    ) -> GuestNeeds {
        GuestNeeds {
            total_pages: words[0],
            max_pages: words[1],
            paging_kib: words[2],
            tsc_mode: halves[0],
            tsc_khz: halves[1],
            xen: (halves[2], halves[3]),
            cpuid: leaves
                .iter()
                .map(|l| CpuidLeaf { leaf: l[0], subleaf: l[1], registers: [l[2], l[3], l[4], l[5]] })
                .collect(),
            msrs: msrs.iter().map(|&(index, value)| MsrEntry { index, value }).collect(),
        }
    }
}

proptest! {
    #[test]
    fn an_offer_comes_back(
        needs in needs(), token in any::<[u8; 16]>(), request in 0..3usize,
        oldest in any::<u16>(), newest in any::<u16>(), capabilities in any::<u64>(),
        appended in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let request = [Request::Migrate, Request::Check, Request::Settle][request];
        let token = Token::from_bytes(token);
        let offer = Offer { versions: oldest..=newest, request, token, capabilities, needs };
        let mut bytes = offer.encode();
        prop_assert_eq!(Offer::decode(&bytes).unwrap(), Some(offer.clone()));
        // A newer version says more, in the body and behind it.
        let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) + appended.len() as u32;
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes.extend(&appended);
        bytes.extend(b"more");
        prop_assert_eq!(Offer::decode(&bytes).unwrap(), Some(offer));
    }

    #[test]
    fn an_answer_comes_back(
        version in prop::option::of(1..9u16), token in any::<[u8; 16]>(), verdict in 0..5usize,
        problems in prop::collection::vec(text(), 0..5),
        warnings in prop::collection::vec(text(), 0..5),
    ) {
        use Verdict::*;
        let verdict = [Accepted, Refused, Mine, Yours, Unknown][verdict];
        let token = Token::from_bytes(token);
        let answer =
            Answer { version, versions: 1..=3, verdict, token, capabilities: 0, problems, warnings };
        let bytes = answer.encode();
        prop_assert_eq!(bytes[..8].to_vec(), ANSWER_MAGIC.to_vec());
        let mut source = Source::new(&bytes[8..]);
        prop_assert_eq!(Answer::read_rest(&mut source).unwrap(), answer);
        prop_assert_eq!(source.offset(), bytes.len() as u64 - 8);
    }

    #[test]
    fn a_frame_comes_back(
        token in any::<[u8; 16]>(), text in text(), micros in any::<u32>(), kind in 0..7usize,
    ) {
        let token = Token::from_bytes(token);
        let timings = vec![Timing { step: text.clone(), micros }; 3];
        let frame = [
            Frame::KeepAlive, Frame::Ready(token), Frame::Running(timings),
            Frame::Failed(text.clone()), Frame::Handover(token), Frame::Cancel(text),
            Frame::Other(1 << 31 | 5),
        ][kind].clone();
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        prop_assert!(Frame::is_head(bytes[..8].try_into().unwrap()));
        prop_assert_eq!(Frame::read(&mut Source::new(bytes.as_slice())).unwrap(), frame);
        for end in 0..bytes.len() {
            prop_assert!(Frame::read(&mut Source::new(&bytes[..end])).is_err());
        }
    }
}

#[test]
fn the_highest_common_version_is_chosen() {
    let newer_and_older = [
        (1..=1, 1..=1, Some(1)),
        (1..=1, 1..=7, Some(1)),
        (2..=3, 1..=2, Some(2)),
        (1..=4, 3..=9, Some(4)),
        (1..=1, 2..=3, None),
        (3..=4, 1..=2, None),
        // A range that is none.
        (1..=1, Versions::new(5, 1), None),
    ];
    for (ours, theirs, expected) in newer_and_older {
        assert_eq!(common_version(&ours, &theirs), expected, "{ours:?} and {theirs:?}");
        assert_eq!(common_version(&theirs, &ours), expected, "{theirs:?} and {ours:?}");
    }
}

#[test]
fn what_is_no_offer_is_left_alone_and_a_bad_one_is_refused() {
    assert_eq!(Offer::decode(b"").unwrap(), None);
    assert_eq!(Offer::decode(b"something of another toolstack's").unwrap(), None);
    let offer = Offer {
        versions: 1..=1,
        request: Request::Check,
        token: Token::from_bytes([7; 16]),
        capabilities: 0,
        needs: GuestNeeds::default(),
    };
    let good = offer.encode();
    for end in OFFER_MAGIC.len()..good.len() {
        Offer::decode(&good[..end]).expect_err("cut short");
    }
    let mut bad = good;
    bad[16] = 9;
    let fault = Offer::decode(&bad).expect_err("an unknown request");
    assert_eq!(fault.at, 16);
}

#[test]
fn xls_messages_and_too_long_frames_are_no_frames() {
    for message in [b"domain r", b"domain i", b"my copy ", b"LibxlFmt", &ANSWER_MAGIC] {
        assert!(!Frame::is_head(*message));
    }
    let long = [1, 0, 0, 0, 1, 0, 1, 0];
    assert!(!Frame::is_head(long));
    let error = Frame::read(&mut Source::new(long.as_slice())).expect_err("too long");
    assert!(matches!(error.kind, StreamErrorKind::TooLarge { found: 65537, .. }), "{error}");
    let unknown = [7, 0, 0, 0, 0, 0, 0, 0];
    let error = Frame::read(&mut Source::new(unknown.as_slice())).expect_err("unknown");
    assert!(matches!(error.kind, StreamErrorKind::UnknownMandatory(7)), "{error}");
}

#[test]
fn a_peers_texts_do_nothing_to_a_terminal() {
    let mut bytes = Vec::new();
    Frame::Failed("\x1b[2Jgone\n".into()).write(&mut bytes).unwrap();
    let frame = Frame::read(&mut Source::new(bytes.as_slice())).unwrap();
    assert_eq!(frame, Frame::Failed("\u{fffd}[2Jgone\u{fffd}".into()));
}

#[test]
fn a_token_is_written_as_it_is_read() {
    let token = Token::random().unwrap();
    assert_eq!(token.to_string().parse(), Ok(token));
    let json = serde_json::to_string(&token).unwrap();
    assert_eq!(serde_json::from_str::<Token>(&json).unwrap(), token);
    for bad in ["", "00", "../../../../../../../../etc/pass", "+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1"] {
        bad.parse::<Token>().expect_err(bad);
    }
}
