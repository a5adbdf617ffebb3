//! Numbers as JavaScript writes them (ECMA-262, Number::toString), and the property keys that are
//! array indices.

use std::fmt::Write;

/// The highest array index; the next number is a property name like any other.
pub(super) const MAX_INDEX: u32 = u32::MAX - 1;

/// Appends a number as `String(number)` gives it.
pub(super) fn write_number(out: &mut Vec<u8>, number: f64) {
    if number.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if number.is_infinite() {
        out.extend_from_slice(if number < 0.0 { b"-Infinity" } else { b"Infinity" });
    } else if number.trunc() == number && number.abs() < 9_007_199_254_740_992.0 {
        // Whole and exact: −0 becomes 0 on the way, as it must.
        write_integer(out, number as i64);
    } else {
        write_fraction(out, number);
    }
}

/// Appends a whole number.
pub(super) fn write_integer(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Room for the shortest digits of any double: 17 digits, a point, a sign and an exponent.
#[derive(Default)]
struct Scratch {
    bytes: [u8; 32],
    length: usize,
}

impl Write for Scratch {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes
            .get_mut(self.length..end)
            .ok_or(std::fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// A finite number that is not a small whole one. Rust finds the same shortest digits that the
/// standard asks for, and only lays them out differently.
fn write_fraction(out: &mut Vec<u8>, number: f64) {
    let mut scratch = Scratch::default();
    let written = write!(scratch, "{:e}", number.abs());
    debug_assert!(written.is_ok(), "the shortest digits fit");
    let text = &scratch.bytes[..scratch.length];
    let Some(mark) = text.iter().position(|b| *b == b'e') else { return };
    let (mut digits, mut count) = ([0; 32], 0);
    for byte in text[..mark].iter().filter(|b| **b != b'.') {
        digits[count] = *byte;
        count += 1;
    }
    let exponent = text[mark + 1..].iter().fold(0i32, |value, byte| match byte {
        b'-' => value,
        digit => value * 10 + i32::from(digit - b'0'),
    });
    let exponent = if text[mark + 1] == b'-' { -exponent } else { exponent };

    if number < 0.0 {
        out.push(b'-');
    }
    // Where the decimal point is, counted from the first digit.
    let point = exponent + 1;
    if is_halfway(number, point - count as i32) {
        // Rust rounds up between two that are equally near, the standard wants the even one.
        digits[count - 1] &= !1;
    }
    let digits = &digits[..count];
    let count = count as i32;
    match point {
        point if count <= point && point <= 21 => {
            out.extend_from_slice(digits);
            out.extend(std::iter::repeat_n(b'0', (point - count) as usize));
        }
        1..=21 => {
            out.extend_from_slice(&digits[..point as usize]);
            out.push(b'.');
            out.extend_from_slice(&digits[point as usize..]);
        }
        -5..=0 => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', -point as usize));
            out.extend_from_slice(digits);
        }
        _ => {
            out.push(digits[0]);
            if count > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            write_integer(out, i64::from(exponent.unsigned_abs()));
        }
    }
}

/// Whether a number lies in the middle of two multiples of 10^place: it is an odd multiple of
/// 5^place · 2^(place − 1). Below the decimal point the fives cancel out.
fn is_halfway(number: f64, place: i32) -> bool {
    let bits = number.to_bits();
    let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
    let (mantissa, exponent) =
        if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    let twos = mantissa.trailing_zeros();
    let fives = u32::try_from(place).map_or(Some(1), |place| 5u64.checked_pow(place));
    exponent + twos as i32 == place - 1
        && fives.is_some_and(|fives| (mantissa >> twos).is_multiple_of(fives))
}

/// A number as a property key: `String(number)`.
pub(super) fn key_of(number: f64) -> String {
    let mut text = Vec::with_capacity(16);
    write_number(&mut text, number);
    String::from_utf8(text).unwrap_or_default()
}

/// The array index that a property key spells, if it is spelled the one way that counts.
#[inline]
pub(super) fn array_index(key: &[u8]) -> Option<u32> {
    match key {
        [b'0'] => return Some(0),
        [b'1'..=b'9', ..] if key.len() <= 10 => {}
        _ => return None,
    }
    let mut index = 0u64;
    for byte in key {
        if !byte.is_ascii_digit() {
            return None;
        }
        index = index * 10 + u64::from(byte - b'0');
    }
    u32::try_from(index).ok().filter(|index| *index <= MAX_INDEX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_laid_out_as_javascript_does() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (-1.5, "-1.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e21, "1e+21"),
            (123456789012345680000.0, "123456789012345680000"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (1.25e-6, "0.00000125"),
            (1e-7, "1e-7"),
            (-1.23e-7, "-1.23e-7"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (9007199254740991.0, "9007199254740991"),
            (9007199254740992.0, "9007199254740992"),
            (-9007199254740993.0, "-9007199254740992"),
            (4294967295.5, "4294967295.5"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
            (0.987_739_562_988_281_3, "0.9877395629882812"),
            (2f64.powi(-25), "2.9802322387695312e-8"),
        ];
        for (number, text) in cases {
            assert_eq!(key_of(number), text);
        }
    }

    #[test]
    fn only_canonical_keys_are_indices() {
        assert_eq!(array_index(b"0"), Some(0));
        assert_eq!(array_index(b"4294967294"), Some(MAX_INDEX));
        for key in ["", "00", "01", "-1", "4294967295", "99999999999", "1a", "+1", "1.0"] {
            assert_eq!(array_index(key.as_bytes()), None, "{key}");
        }
    }
}
