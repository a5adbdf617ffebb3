//! From chunks of bytes to lines with a name before each.
//!
//! Invariant: what is handed out is whole lines, so that the lines of several commands can be mixed;
//! what is kept of a line that has not ended is at most [`LONGEST_PIECE`] bytes, whatever a command
//! writes.

/// A line longer than this is passed on in pieces of this size.
pub(crate) const LONGEST_PIECE: usize = 16 * 1024;

const COLORS: [&str; 6] = ["\x1b[36m", "\x1b[33m", "\x1b[32m", "\x1b[35m", "\x1b[34m", "\x1b[31m"];

/// How the lines of one command are marked.
pub(crate) struct Label<'a> {
    pub(crate) name: &'a str,
    /// Characters that the longest of the names has.
    pub(crate) width: usize,
    /// Which colour, if any.
    pub(crate) color: Option<usize>,
}

impl Label<'_> {
    /// What comes before a line.
    fn prefix(&self, mark: char) -> Vec<u8> {
        let (name, width) = (self.name, self.width);
        match self.color {
            Some(index) => {
                format!("{}{name:<width$} {mark}\x1b[0m ", COLORS[index % COLORS.len()])
            }
            None => format!("{name:<width$} {mark} "),
        }
        .into_bytes()
    }
}

/// Cuts one stream of a command into lines.
pub(crate) struct Lines {
    beginning: Vec<u8>,
    continuing: Vec<u8>,
    /// The line so far, without an end.
    partial: Vec<u8>,
    /// Pieces of the line have been handed out.
    in_pieces: bool,
}

impl Lines {
    /// Of a stream whose lines are marked with `mark` after the name.
    pub(crate) fn new(label: &Label<'_>, mark: char) -> Lines {
        Lines {
            beginning: label.prefix(mark),
            continuing: label.prefix('+'),
            partial: Vec::new(),
            in_pieces: false,
        }
    }

    /// Takes what has arrived and returns the lines that it ends.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + self.beginning.len());
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (mut text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            while self.partial.len() + text.len() > LONGEST_PIECE {
                let (piece, rest) = text.split_at(LONGEST_PIECE - self.partial.len());
                self.hand_out(piece, &mut out);
                self.in_pieces = true;
                text = rest;
            }
            if ends {
                self.hand_out(text, &mut out);
                self.in_pieces = false;
            } else {
                self.partial.extend_from_slice(text);
            }
        }
        out
    }

    /// The last line, if it has no end.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.partial.is_empty() {
            self.hand_out(b"", &mut out);
        }
        out
    }

    fn hand_out(&mut self, end: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(if self.in_pieces { &self.continuing } else { &self.beginning });
        out.append(&mut self.partial);
        out.extend_from_slice(end);
        out.push(b'\n');
    }
}
