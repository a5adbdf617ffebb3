//! The messages of the channel: against the bytes that Node sends, against a `node` where there is
//! one, against whatever bytes there are.

#![cfg(feature = "child_process")]

mod generated;
mod hostile;
mod json_text;
mod strategies;
mod vectors;
mod with_node;

/// Bytes written in hexadecimal, spaces allowed.
fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
