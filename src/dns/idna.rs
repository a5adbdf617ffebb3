//! Host names that are not ASCII: Punycode (RFC 3492), label by label.
//!
//! Our own lines rather than the crate `idna`, because libuv does not do what that does: libuv maps
//! nothing and forbids nothing, it only encodes, and a C library with libuv's behaviour is to be
//! built on this. Invariant: a result is ASCII and fits what the system's resolver takes; what does
//! not fit is an error and never cut off (CVE-2024-24806).

use crate::error::{Error, Result};

/// Bytes that a translated name may have: libuv's buffer holds 256 with the NUL. The longest name
/// that DNS knows has 253.
const MOST: usize = 255;

// The parameters of RFC 3492, section 5.
const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// The name with each label in ASCII; `EINVAL` when it is empty or too long.
pub(super) fn to_ascii(name: &str) -> Result<String> {
    // What is this long already can only grow; and the encoder's time is bounded by it.
    if name.is_empty() || name.chars().count() > MOST {
        return Err(Error::EINVAL);
    }
    let mut ascii = String::with_capacity(name.len());
    // The full stops of Chinese and Japanese, and their narrow and wide forms, separate as well.
    for label in name.split_inclusive(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']) {
        let stem = label.trim_end_matches(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']);
        if stem.is_ascii() {
            ascii.push_str(stem);
        } else {
            ascii.push_str("xn--");
            encode(stem, &mut ascii)?;
        }
        if stem.len() < label.len() {
            ascii.push('.');
        }
    }
    if ascii.len() > MOST { Err(Error::EINVAL) } else { Ok(ascii) }
}

/// Section 6.3 of the RFC.
fn encode(label: &str, to: &mut String) -> Result<()> {
    let basic = label.chars().filter(char::is_ascii);
    let basic_count = basic.clone().count() as u32;
    to.extend(basic);
    if basic_count > 0 {
        to.push('-');
    }
    let total = label.chars().count() as u32;
    let (mut n, mut delta, mut bias, mut handled) = (INITIAL_N, 0u32, INITIAL_BIAS, basic_count);
    while handled < total {
        let Some(next) = label.chars().map(u32::from).filter(|c| *c >= n).min() else { break };
        let more = (next - n).checked_mul(handled + 1).and_then(|more| delta.checked_add(more));
        delta = more.ok_or(Error::EINVAL)?;
        n = next;
        for c in label.chars().map(u32::from) {
            if c < n {
                delta += 1;
            } else if c == n {
                push_number(delta, bias, to);
                bias = adapt(delta, handled + 1, handled == basic_count);
                delta = 0;
                handled += 1;
            }
        }
        delta += 1;
        n += 1;
    }
    Ok(())
}

fn push_number(number: u32, bias: u32, to: &mut String) {
    let mut rest = number;
    let mut k = BASE;
    loop {
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if rest < threshold {
            to.push(digit(rest));
            return;
        }
        to.push(digit(threshold + (rest - threshold) % (BASE - threshold)));
        rest = (rest - threshold) / (BASE - threshold);
        k += BASE;
    }
}

fn digit(value: u32) -> char {
    // Always below 36.
    char::from_digit(if value < 26 { value + 10 } else { value - 26 }, BASE).unwrap_or('-')
}

fn adapt(delta: u32, points: u32, first: bool) -> u32 {
    let mut delta = if first { delta / DAMP } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first six are of RFC 3492 (section 7.1), in lower case as the encoder leaves it.
    #[test]
    fn labels_are_encoded_as_the_rfc_says() {
        let cases = [
            ("他们为什么不说中文", "xn--ihqwcrb4cv8a8dqg056pqjye"),
            ("Pročprostěnemluvíčesky", "xn--Proprostnemluvesky-uyb24dma41a"),
            ("למההםפשוטלאמדבריםעברית", "xn--4dbcagdahymbxekheh6e0a7fei0b"),
            ("3年B組金八先生", "xn--3B-ww4c5e180e575a65lsy2b"),
            ("そのスピードで", "xn--d9juau41awczczp"),
            ("MajiでKoiする5秒前", "xn--MajiKoi5-783gue6qz075azm5e"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("faß.de", "xn--fa-hia.de"),
            ("münchen。ü", "xn--mnchen-3ya.xn--tda"),
            ("☃", "xn--n3h"),
            ("😀.x", "xn--e28h.x"),
        ];
        for (name, ascii) in cases {
            assert_eq!(to_ascii(name).as_deref(), Ok(ascii), "{name}");
        }
    }

    #[test]
    fn ascii_stays_as_it_is() {
        for name in ["localhost", "Example.COM.", "a..b", ".", "127.0.0.1", "::1", "fe80::1%lo"] {
            assert_eq!(to_ascii(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn what_is_empty_or_too_long_is_einval_and_nothing_is_cut() {
        assert_eq!(to_ascii(""), Err(Error::EINVAL));
        assert_eq!(to_ascii(&"a".repeat(255)).map(|name| name.len()), Ok(255));
        assert_eq!(to_ascii(&"a".repeat(256)), Err(Error::EINVAL));
        // 60 characters each encoded, which is more than 255 together.
        assert_eq!(to_ascii(&"ü.".repeat(60)), Err(Error::EINVAL));
        assert_eq!(to_ascii(&"\u{10ffff}\u{80}".repeat(1_000_000)), Err(Error::EINVAL));
    }

    proptest::proptest! {
        /// Whatever the name: ASCII or an error, and the separators are where they were.
        #[test]
        fn any_name_becomes_ascii_or_an_error(name in "\\PC{0,80}") {
            if let Ok(ascii) = to_ascii(&name) {
                assert!(ascii.is_ascii() && ascii.len() <= MOST && !ascii.is_empty());
                let separators = |c: &char| matches!(c, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}');
                assert_eq!(
                    ascii.matches('.').count(),
                    name.chars().filter(separators).count()
                );
            }
        }
    }
}
